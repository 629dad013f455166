# Install gyre, and use it as others do: by find_package and by pkg-config.
# cmake -DBUILD=<build tree> -DSOURCE=<source tree> -DCC=<compiler>
#       -DGENERATOR=<of CMake> -DWORK=<folder> -DLIBDIR=lib/...
#       -P package.cmake

function(run)
    execute_process(COMMAND ${ARGN} RESULT_VARIABLE result
                    OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(NOT result EQUAL 0)
        message(FATAL_ERROR "${ARGN}\n${output}")
    endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})
set(prefix ${WORK}/prefix)
set(example ${SOURCE}/examples/minimal.c)
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
foreach(file include/gyre/gyre.h share/man/man7/gyre-options.7
        ${LIBDIR}/libgyre.a ${LIBDIR}/libgyre.so ${LIBDIR}/pkgconfig/gyre.pc)
    if(NOT EXISTS ${prefix}/${file})
        message(FATAL_ERROR "${file} was not installed")
    endif()
endforeach()

run(${CMAKE_COMMAND} -S ${SOURCE}/tests/package -B ${WORK}/build
    -G ${GENERATOR} -DCMAKE_C_COMPILER=${CC} -DCMAKE_PREFIX_PATH=${prefix}
    -DEXAMPLE=${example})
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${WORK}/build/with-gyre)
run(${WORK}/build/with-gyre-shared)

set(ENV{PKG_CONFIG_PATH} ${prefix}/${LIBDIR}/pkgconfig)
foreach(kind "" --static)
    execute_process(
        COMMAND pkg-config --define-variable=prefix=${prefix} ${kind}
                --cflags --libs gyre
        RESULT_VARIABLE result OUTPUT_VARIABLE flags
        OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(NOT result EQUAL 0)
        message(FATAL_ERROR "pkg-config knows no gyre")
    endif()
    separate_arguments(flags UNIX_COMMAND "${flags}")
    if(kind)
        list(PREPEND flags -Wl,-Bstatic)
        list(TRANSFORM flags REPLACE "^-lgyre$" "-lgyre;-Wl,-Bdynamic")
    endif()
    run(${CC} -O2 ${example} -o ${WORK}/by-pkg-config ${flags})
    run(${CMAKE_COMMAND} -E env LD_LIBRARY_PATH=${prefix}/${LIBDIR}
        ${WORK}/by-pkg-config)
endforeach()
