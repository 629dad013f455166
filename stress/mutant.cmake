# Run gyre-stress with a fault in its library: it must be found in 30 s.
# Run as cmake -DPROGRAM=... -DFAULT=... -DHEAP=... -DSANITIZE=... -DCOLLECTOR=...
#   -DMIX=... -P mutant.cmake
set(left 30)
set(seed 1)
string(TIMESTAMP begin %s)
while(left GREATER 0)
    execute_process(
        COMMAND ${CMAKE_COMMAND} -E env TSAN_OPTIONS=halt_on_error=1
                GYRE_FAULT=${FAULT}
                ${PROGRAM} replay ${HEAP} --threads 2 --seconds ${left}
                --seed ${seed} --patience 10 --collector ${COLLECTOR}
                --mix ${MIX}
        RESULT_VARIABLE status
        OUTPUT_VARIABLE output
        ERROR_VARIABLE output
        TIMEOUT 60)
    if(SANITIZE STREQUAL "thread")
        string(REGEX MATCH "WARNING: ThreadSanitizer: data race" found
               "${output}")
    elseif(status STREQUAL "1")
        # a path that never ran is no proof
        string(REGEX MATCH "failed: (m[^i]|[^m])[^\n]*" found "${output}")
    elseif(NOT status MATCHES "^[02]$" AND NOT status MATCHES "[Tt]imeout")
        set(found "it crashed: ${status}")
    endif()
    if(found)
        message(STATUS "found with seed ${seed}: ${found}")
        return()
    endif()
    if(NOT status MATCHES "^[01]$")
        message(FATAL_ERROR "status ${status}:\n${output}")
    endif()
    string(TIMESTAMP now %s)
    math(EXPR left "30 - (${now} - ${begin})")
    math(EXPR seed "${seed} + 1")
endwhile()
message(FATAL_ERROR "the fault was not found in 30 s:\n${output}")
