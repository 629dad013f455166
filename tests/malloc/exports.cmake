# What libgyre-malloc.so exports and needs: the names of malloc and of C++'s
# operators, nothing of gyre's, and the C library alone.
# Covers docs/design/malloc.md .malloc
set(expected
    malloc free calloc realloc reallocarray aligned_alloc posix_memalign
    memalign valloc pvalloc malloc_usable_size
    malloc_trim)
foreach(array w a)
    string(REPLACE "w" "l" one ${array})
    list(APPEND expected
        _Zn${array}m _Zn${array}mRKSt9nothrow_t
        _Zn${array}mSt11align_val_t _Zn${array}mSt11align_val_tRKSt9nothrow_t
        _Zd${one}Pv _Zd${one}Pvm _Zd${one}PvRKSt9nothrow_t
        _Zd${one}PvSt11align_val_t _Zd${one}PvmSt11align_val_t
        _Zd${one}PvSt11align_val_tRKSt9nothrow_t)
endforeach()
list(SORT expected)

execute_process(COMMAND ${NM} -D --defined-only --format=posix ${LIBRARY}
    OUTPUT_VARIABLE lines RESULT_VARIABLE failed)
if(failed)
    message(FATAL_ERROR "${NM} failed on ${LIBRARY}")
endif()
string(REGEX MATCHALL "[^\n]+" lines "${lines}")
set(exported)
foreach(line ${lines})
    string(REGEX REPLACE " .*" "" name ${line})
    list(APPEND exported ${name})
endforeach()
list(SORT exported)
if(NOT exported STREQUAL expected)
    message(FATAL_ERROR "exports\n  ${exported}\nnot\n  ${expected}")
endif()

execute_process(COMMAND ${READELF} -d ${LIBRARY} OUTPUT_VARIABLE dynamic)
string(REGEX MATCHALL "NEEDED[^\n]*" needed "${dynamic}")
foreach(line ${needed})
    if(NOT line MATCHES "\\[(libc\\.so\\.6|libpthread\\.so\\.0|libdl\\.so\\.2|ld-linux[^]]*)\\]")
        message(FATAL_ERROR "needs more than the C library: ${line}")
    endif()
endforeach()
