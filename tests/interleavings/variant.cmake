# Run the test that is the trail of a model's broken variant, with that fault
# in the library: it must fail, by an assertion or by what the library finds.
# Run as cmake -DPROGRAM=... -DVARIANT=... -P variant.cmake
execute_process(
    COMMAND ${PROGRAM} ${VARIANT}
    RESULT_VARIABLE status
    OUTPUT_VARIABLE output
    ERROR_VARIABLE output
    TIMEOUT 60)
if(VARIANT STREQUAL "none")
    if(NOT status STREQUAL "0")
        message(FATAL_ERROR "fails without a fault, ${status}:\n${output}")
    endif()
    return()
endif()
if(status STREQUAL "0" OR NOT output MATCHES "\\[ RUN      \\] test_")
    message(FATAL_ERROR "${VARIANT} was not found, ${status}:\n${output}")
elseif(status MATCHES "[Tt]imeout|^2$")
    message(FATAL_ERROR "${VARIANT}: ${status}\n${output}")
endif()
string(REGEX MATCHALL "[^\n]*(interleaving:|collect:|!=|FAILED|==)[^\n]*" found
       "${output}")
message(STATUS "found, ${status}: ${found}")
