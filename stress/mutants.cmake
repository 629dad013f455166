# One library and one gyre-stress for each fault of src/fault.h. Nothing of
# it belongs to a normal build: the first test of the label builds them.

set(stress_faults
    incref_left_out decref_twice edge_not_traced merge_order queue_entry_lost
    weak_callback_lost weak_callback_twice finalizer_twice remote_free_lost
    release_relaxed
    limbo_left_out armed_two_steps touch_late trust_first_pass)
# the last ones are the concurrent collector's
set(concurrent_faults
    limbo_left_out armed_two_steps touch_late trust_first_pass)

add_custom_target(gyre-mutants)
add_test(NAME mutants_build
         COMMAND ${CMAKE_COMMAND} --build ${PROJECT_BINARY_DIR}
                 --target gyre-mutants)
set_tests_properties(mutants_build PROPERTIES
    LABELS mutant FIXTURES_SETUP mutants TIMEOUT 1200)

set(number 0)
foreach(fault ${stress_faults})
    math(EXPR number "${number} + 1")
    # a weakened order is seen by a thread sanitizer only
    if(fault STREQUAL "release_relaxed")
        set(sanitize thread)
    else()
        set(sanitize none)
    endif()
    set(mix all)
    set(collector stop)
    if(fault IN_LIST concurrent_faults)
        set(collector concurrent)
    endif()
    # found soonest there
    if(fault STREQUAL "touch_late" OR fault STREQUAL "trust_first_pass")
        set(mix private)
    elseif(fault STREQUAL "limbo_left_out")
        set(mix cut)
    endif()
    gyre_add_library(gyre-fault-${number} STATIC FAULT ${number}
                     SANITIZE ${sanitize})
    stress_program(gyre-stress-fault-${number} gyre-fault-${number}
                   SANITIZE ${sanitize})
    set_target_properties(gyre-fault-${number} gyre-stress-fault-${number}
                          PROPERTIES EXCLUDE_FROM_ALL TRUE)
    add_dependencies(gyre-mutants gyre-stress-fault-${number})
    add_test(NAME mutant_${number}_${fault}
             COMMAND ${CMAKE_COMMAND}
                     -DPROGRAM=$<TARGET_FILE:gyre-stress-fault-${number}>
                     -DHEAP=${stress_heap} -DSANITIZE=${sanitize}
                     -DCOLLECTOR=${collector} -DMIX=${mix}
                     -P ${CMAKE_CURRENT_SOURCE_DIR}/mutant.cmake)
    set_tests_properties(mutant_${number}_${fault} PROPERTIES
        LABELS mutant FIXTURES_REQUIRED mutants TIMEOUT 120 PROCESSORS 2)
    # the others must be found beside the program as well; not by the thread
    # sanitizer, under which little is collected in the time
    if(NOT fault IN_LIST concurrent_faults AND NOT sanitize STREQUAL "thread")
        add_test(NAME mutant_beside_${number}_${fault}
                 COMMAND ${CMAKE_COMMAND}
                         -DPROGRAM=$<TARGET_FILE:gyre-stress-fault-${number}>
                         -DHEAP=${stress_heap} -DSANITIZE=${sanitize}
                         -DCOLLECTOR=concurrent -DMIX=${mix}
                         -P ${CMAKE_CURRENT_SOURCE_DIR}/mutant.cmake)
        set_tests_properties(mutant_beside_${number}_${fault} PROPERTIES
            LABELS mutant FIXTURES_REQUIRED mutants TIMEOUT 120 PROCESSORS 2)
    endif()
endforeach()
