# What every folder's CMakeLists.txt uses: one library a folder, linked along the arrows of the
# design, so that a wrong include does not build.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug or RelWithDebInfo" FORCE)
endif()
# -O2 vectorises in gcc 12 and clang 14 alike. assert() stays in debug builds only.
set(CMAKE_C_FLAGS_RELEASE "-O2 -g -DNDEBUG")

find_package(Threads REQUIRED)

add_library(emc_flags INTERFACE)
set(EMC_WARNINGS -Wall -Wextra -Wshadow -Wpointer-arith -Wvla -Wformat=2)
target_compile_options(emc_flags INTERFACE
  $<$<COMPILE_LANGUAGE:C>:${EMC_WARNINGS} -Wstrict-prototypes -Wmissing-prototypes -Wundef>
  $<$<COMPILE_LANGUAGE:C,CXX>:-fvisibility=hidden -fno-strict-aliasing -ffp-contract=off>)
target_compile_definitions(emc_flags INTERFACE _GNU_SOURCE _FILE_OFFSET_BITS=64)
if(EMCELL_WERROR)
  target_compile_options(emc_flags INTERFACE $<$<COMPILE_LANGUAGE:C,CXX>:-Werror>)
endif()
if(EMCELL_SANITIZE)
  target_compile_options(emc_flags INTERFACE
    $<$<COMPILE_LANGUAGE:C>:-O1 -fsanitize=address,undefined -fno-sanitize-recover=all
      -fno-omit-frame-pointer>)
  target_link_options(emc_flags INTERFACE -fsanitize=address,undefined)
endif()
if(EMCELL_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "EMCELL_FUZZ needs clang: cmake --preset fuzz")
  endif()
  target_compile_options(emc_flags INTERFACE
    $<$<COMPILE_LANGUAGE:C>:-O1 -fsanitize=fuzzer-no-link,address,undefined
      -fno-sanitize-recover=all -fno-omit-frame-pointer>)
  target_link_options(emc_flags INTERFACE -fsanitize=address,undefined)
endif()

# Public headers are included as "folder/header.h". Each folder gets an include directory of its
# own that holds nothing but a link to that folder, so that a header is found only where the
# folder is linked.
function(emc_add_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS;PRIVATE_LINKS" ${ARGN})
  set(include_root ${CMAKE_BINARY_DIR}/include/${folder})
  file(MAKE_DIRECTORY ${include_root})
  if(NOT EXISTS ${include_root}/${folder})
    file(CREATE_LINK ${CMAKE_SOURCE_DIR}/${folder} ${include_root}/${folder} SYMBOLIC)
  endif()
  add_library(emc_${folder} STATIC ${ARG_SOURCES})
  target_include_directories(emc_${folder} PUBLIC ${include_root})
  target_link_libraries(emc_${folder} PUBLIC ${ARG_LINKS} PRIVATE emc_flags ${ARG_PRIVATE_LINKS})
endfunction()
