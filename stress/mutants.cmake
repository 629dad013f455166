# A library and a gyre-stress in which each fault of src/fault.h can be chosen;
# the same with the thread sanitizer, which alone sees a weakened order. Nothing
# of it belongs to a normal build: the first test of the label builds them.

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

foreach(sanitize none thread)
    gyre_add_library(gyre-faults-${sanitize} STATIC FAULT -1
                     SANITIZE ${sanitize})
    stress_program(gyre-stress-faults-${sanitize} gyre-faults-${sanitize}
                   SANITIZE ${sanitize})
    set_target_properties(gyre-faults-${sanitize}
                          gyre-stress-faults-${sanitize}
                          PROPERTIES EXCLUDE_FROM_ALL TRUE)
    add_dependencies(gyre-mutants gyre-stress-faults-${sanitize})
endforeach()

set(number 0)
foreach(fault ${stress_faults})
    math(EXPR number "${number} + 1")
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
    add_test(NAME mutant_${number}_${fault}
             COMMAND ${CMAKE_COMMAND}
                     -DPROGRAM=$<TARGET_FILE:gyre-stress-faults-${sanitize}>
                     -DFAULT=${number}
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
                         -DPROGRAM=$<TARGET_FILE:gyre-stress-faults-${sanitize}>
                         -DFAULT=${number}
                         -DHEAP=${stress_heap} -DSANITIZE=${sanitize}
                         -DCOLLECTOR=concurrent -DMIX=${mix}
                         -P ${CMAKE_CURRENT_SOURCE_DIR}/mutant.cmake)
        set_tests_properties(mutant_beside_${number}_${fault} PROPERTIES
            LABELS mutant FIXTURES_REQUIRED mutants TIMEOUT 120 PROCESSORS 2)
    endif()
endforeach()

# The models' broken variants: the test that is the trail of one has to fail with
# it, and every test has to pass with none.

set(interleaving_faults
    rescue flags_first move_untouched no_touch drop_part second_pass flags_once
    weak_blind weak_no_lock get_plainly no_stop_again old_proof
    finalized_first announce_first release_blindly waiter_runs)

pkg_check_modules(cmocka REQUIRED IMPORTED_TARGET cmocka)
set(tests ${PROJECT_SOURCE_DIR}/tests)
file(GLOB interleavings CONFIGURE_DEPENDS
     ${tests}/test_interleavings.c ${tests}/interleavings/*.c
     ${tests}/support/*.c)
gyre_add_library(gyre-faults-yielding STATIC FAULT -1 YIELD ON)
add_executable(test_interleavings_faulty ${interleavings})
gyre_target(test_interleavings_faulty)
target_include_directories(test_interleavings_faulty PRIVATE
    ${tests} ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
target_link_libraries(test_interleavings_faulty PRIVATE gyre-faults-yielding
                      PkgConfig::cmocka PkgConfig::gyre_urcu)
set_target_properties(gyre-faults-yielding test_interleavings_faulty
                      PROPERTIES EXCLUDE_FROM_ALL TRUE)
add_dependencies(gyre-mutants test_interleavings_faulty)

foreach(fault none ${interleaving_faults})
    add_test(NAME mutant_interleaving_${fault}
             COMMAND ${CMAKE_COMMAND}
                     -DPROGRAM=$<TARGET_FILE:test_interleavings_faulty>
                     -DVARIANT=${fault}
                     -P ${tests}/interleavings/variant.cmake)
    set_tests_properties(mutant_interleaving_${fault} PROPERTIES
        LABELS mutant FIXTURES_REQUIRED mutants TIMEOUT 120 PROCESSORS 2)
endforeach()
