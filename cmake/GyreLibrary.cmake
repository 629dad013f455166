# How gyre's own targets are compiled: language, warnings, sanitizers.

# gyre_sanitizer_flags(<out> none|address|thread)
function(gyre_sanitizer_flags out kind)
    if(kind STREQUAL "none")
        set(${out} "" PARENT_SCOPE)
    elseif(kind STREQUAL "address")
        set(${out} -fsanitize=address,undefined -fno-sanitize-recover=all
            -fno-omit-frame-pointer PARENT_SCOPE)
    elseif(kind STREQUAL "thread")
        set(${out} -fsanitize=thread -fno-omit-frame-pointer PARENT_SCOPE)
    else()
        message(FATAL_ERROR "GYRE_SANITIZE: none, address or thread, "
                            "not ${kind}")
    endif()
endfunction()

# gyre_target(<target> [SANITIZE kind]): warnings and sanitizers for any
# target of this tree: library, test, tool. SANITIZE overrides GYRE_SANITIZE.
function(gyre_target target)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "SANITIZE" "")
    if(NOT arg_SANITIZE)
        set(arg_SANITIZE ${GYRE_SANITIZE})
    endif()
    gyre_sanitizer_flags(flags ${arg_SANITIZE})
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wundef
        $<$<BOOL:${GYRE_WERROR}>:-Werror> ${flags})
    target_link_options(${target} PRIVATE ${flags})
endfunction()

# gyre_add_library(<target> STATIC|SHARED [FAULT n] [SANITIZE kind]
#                  [CHECKING 0|1] [YIELD 0|1] [VALGRIND 0|1]
#                  [HARDENED 0|1] [TLS_MODEL model])
# The whole library, compiled anew with these settings; those not given come
# from the options of the tree. Mutant tests make libraries with a fault.
function(gyre_add_library target linkage)
    cmake_parse_arguments(PARSE_ARGV 2 arg ""
        "FAULT;SANITIZE;CHECKING;HARDENED;YIELD;VALGRIND;TLS_MODEL" "")
    foreach(setting FAULT CHECKING HARDENED YIELD VALGRIND TLS_MODEL)
        if(NOT DEFINED arg_${setting})
            set(arg_${setting} ${GYRE_${setting}})
        endif()
    endforeach()
    if(NOT arg_SANITIZE)
        set(arg_SANITIZE ${GYRE_SANITIZE})
    endif()
    add_library(${target} ${linkage} ${GYRE_SOURCES})
    gyre_target(${target} SANITIZE ${arg_SANITIZE})
    # Inline functions are compiled by the users: under the same sanitizer.
    gyre_sanitizer_flags(flags ${arg_SANITIZE})
    target_compile_options(${target} INTERFACE
        "$<BUILD_INTERFACE:${flags}>")
    target_link_options(${target} INTERFACE "$<BUILD_INTERFACE:${flags}>")
    target_include_directories(${target} PUBLIC
        $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
        $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    target_include_directories(${target} PRIVATE
        ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
    # CHECKING reaches inline functions of the users; what is 0 there by
    # default need not be said.
    target_compile_definitions(${target}
        PUBLIC $<$<BOOL:${arg_CHECKING}>:GYRE_CHECKING=1>
               $<$<BOOL:${arg_VALGRIND}>:GYRE_MEM_CHECKED=1>
               $<$<BOOL:${arg_HARDENED}>:GYRE_HARDENED=1>
               $<BUILD_INTERFACE:GYRE_FAULT=${arg_FAULT}>
               $<BUILD_INTERFACE:GYRE_YIELD=$<BOOL:${arg_YIELD}>>
               $<BUILD_INTERFACE:GYRE_VALGRIND=$<BOOL:${arg_VALGRIND}>>)
    # The users' inlined functions reach the same thread-locals.
    if(NOT arg_TLS_MODEL STREQUAL "initial-exec")
        target_compile_definitions(${target}
            PUBLIC "GYRE_TLS_MODEL=\"${arg_TLS_MODEL}\"")
    endif()
    target_link_libraries(${target} PRIVATE PkgConfig::gyre_urcu
                          PUBLIC Threads::Threads)
endfunction()
