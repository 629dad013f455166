# A library built with GYRE_TLS_MODEL=global-dynamic takes nothing of the space
# that is kept for static thread-locals, so that any number can be loaded.
# Covers docs/malloc.md, loading libgyre by dlopen.
execute_process(COMMAND ${READELF} -d ${LIBRARY} OUTPUT_VARIABLE dynamic
    RESULT_VARIABLE failed)
if(failed OR NOT dynamic MATCHES "NEEDED")
    message(FATAL_ERROR "${READELF} -d ${LIBRARY} says nothing")
endif()
if(dynamic MATCHES "STATIC_TLS")
    message(FATAL_ERROR "${LIBRARY} is marked STATIC_TLS")
endif()
