# Finds the libraries, says in one sentence what to install where a needed one is missing, and prints the table of
# what was found (called last by the top CMakeLists.txt).
#
# Needed: OpenMP, oneDNN, libyaml, jansson, utf8proc, zlib. The others are switches VMA_WITH_X:
#   AUTO (default)  used if it is found
#   ON              an error, naming the Debian package, if it is not found
#   OFF             not looked for

set_property(GLOBAL PROPERTY VMA_FEATURES "")

# vma_need(label found-variable version package): stops the configure step when a library that vma cannot do without is
# missing, else adds its row.
function(vma_need label found version package)
  if(NOT ${found})
    message(FATAL_ERROR "${label} was not found: apt-get install ${package} (or run tools/quickstart.sh, which "
                        "installs whatever is missing)")
  endif()
  vma_feature_row("${label}" "${version}" "needed")
endfunction()

function(vma_feature_row label state note)
  string(LENGTH "${label}" length)
  math(EXPR fill "14 - ${length}")
  string(REPEAT " " ${fill} pad)
  string(LENGTH "${state}" length)
  math(EXPR fill "24 - ${length}")
  if(fill LESS 1)
    set(fill 1)
  endif()
  string(REPEAT " " ${fill} pad2)
  set_property(GLOBAL APPEND_STRING PROPERTY VMA_FEATURES "  ${label}${pad}${state}${pad2}${note}\n")
endfunction()

# vma_switch(X help): the cache variable VMA_WITH_X with its three values.
function(vma_switch name help)
  set(VMA_WITH_${name} AUTO CACHE STRING "${help}: AUTO, ON or OFF")
  set_property(CACHE VMA_WITH_${name} PROPERTY STRINGS AUTO ON OFF)
  if(NOT VMA_WITH_${name} MATCHES "^(AUTO|ON|OFF)$")
    message(FATAL_ERROR "VMA_WITH_${name} is \"${VMA_WITH_${name}}\": give AUTO, ON or OFF")
  endif()
endfunction()

# vma_switch_row(X found version package purpose): after the look-up. `purpose` says what a found library is for; it
# must not claim a use that the code does not have.
function(vma_switch_row name found version package purpose)
  if(VMA_WITH_${name} STREQUAL "OFF")
    vma_feature_row(${name} "off" "VMA_WITH_${name}=OFF")
  elseif(found)
    vma_feature_row(${name} "${version}" "${purpose}")
  elseif(VMA_WITH_${name} STREQUAL "ON")
    message(FATAL_ERROR "VMA_WITH_${name}=ON, but ${name} was not found: apt-get install ${package}, or leave "
                        "VMA_WITH_${name} at AUTO to build without it")
  else()
    vma_feature_row(${name} "not found" "${package}; ${purpose}")
  endif()
endfunction()

# ---- needed --------------------------------------------------------------------------------------

vma_feature_row("C compiler" "${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}" "needed")
find_package(OpenMP QUIET COMPONENTS C)
vma_need(OpenMP OpenMP_C_FOUND "${OpenMP_C_VERSION}" build-essential)
# Not by its CMake package: Debian's asks for the OpenCL headers, which libdnnl-dev does not bring and nobody here needs.
find_path(VMA_DNNL_INCLUDE oneapi/dnnl/dnnl.h)
find_library(VMA_DNNL_LIBRARY dnnl)
mark_as_advanced(VMA_DNNL_INCLUDE VMA_DNNL_LIBRARY)
set(dnnl_version "")
if(VMA_DNNL_INCLUDE AND VMA_DNNL_LIBRARY)
  set(dnnl_found TRUE)
  file(STRINGS ${VMA_DNNL_INCLUDE}/oneapi/dnnl/dnnl_version.h lines REGEX "define DNNL_VERSION_(MAJOR|MINOR|PATCH) ")
  string(REGEX REPLACE "[^0-9;]" "" dnnl_version "${lines}")
  string(REPLACE ";" "." dnnl_version "${dnnl_version}")
  add_library(DNNL::dnnl UNKNOWN IMPORTED GLOBAL)
  set_target_properties(DNNL::dnnl PROPERTIES IMPORTED_LOCATION ${VMA_DNNL_LIBRARY}
                        INTERFACE_INCLUDE_DIRECTORIES ${VMA_DNNL_INCLUDE})
endif()
vma_need(oneDNN dnnl_found "${dnnl_version}" libdnnl-dev)
find_package(PkgConfig QUIET)
vma_need(pkg-config PKG_CONFIG_FOUND "${PKG_CONFIG_VERSION_STRING}" pkg-config)
pkg_check_modules(YAML QUIET IMPORTED_TARGET yaml-0.1)
vma_need(libyaml YAML_FOUND "${YAML_VERSION}" libyaml-dev)
pkg_check_modules(JANSSON QUIET IMPORTED_TARGET jansson)
vma_need(jansson JANSSON_FOUND "${JANSSON_VERSION}" libjansson-dev)
pkg_check_modules(UTF8PROC QUIET IMPORTED_TARGET libutf8proc)
vma_need(utf8proc UTF8PROC_FOUND "${UTF8PROC_VERSION}" libutf8proc-dev)
find_package(ZLIB QUIET)
vma_need(zlib ZLIB_FOUND "${ZLIB_VERSION_STRING}" zlib1g-dev)

# ---- switches ------------------------------------------------------------------------------------
# MPI, NCCL, JPEG and PNG have no user yet; they are looked for so that the table and the switches stay the same when they do.

vma_switch(CUDA "the CUDA backend")
vma_switch(NCCL "collectives between GPUs")
vma_switch(MPI "launch and collectives between CPUs")
vma_switch(JPEG "reading JPEG images")
vma_switch(PNG "reading PNG images")

set(unused "nothing uses it yet")
if(NOT VMA_WITH_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit QUIET)
endif()
set(VMA_HAVE_CUDA FALSE)
if(CUDAToolkit_FOUND AND CUDAToolkit_NVCC_EXECUTABLE AND TARGET CUDA::cudart_static AND TARGET CUDA::cublasLt)
  if(CUDAToolkit_VERSION VERSION_LESS 12.4)
    message(WARNING "CUDA ${CUDAToolkit_VERSION} is older than 12.4: built without the CUDA backend")
  else()
    set(VMA_HAVE_CUDA TRUE)
    include(tools/cuda.cmake)
  endif()
endif()
vma_switch_row(CUDA "${VMA_HAVE_CUDA}" "${CUDAToolkit_VERSION}" nvidia-cuda-toolkit "GPUs")
if(NOT VMA_WITH_NCCL STREQUAL "OFF")
  find_path(VMA_NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(VMA_NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
  mark_as_advanced(VMA_NCCL_INCLUDE VMA_NCCL_LIBRARY)
  if(VMA_NCCL_INCLUDE AND VMA_NCCL_LIBRARY)
    set(nccl_found TRUE)
  endif()
endif()
vma_switch_row(NCCL "${nccl_found}" found libnccl-dev "${unused}")
if(NOT VMA_WITH_MPI STREQUAL "OFF")
  set(CMAKE_MESSAGE_LOG_LEVEL WARNING) # the module tells of its look-ups although it is asked to be quiet
  find_package(MPI QUIET COMPONENTS C)
  unset(CMAKE_MESSAGE_LOG_LEVEL)
endif()
vma_switch_row(MPI "${MPI_C_FOUND}" "MPI ${MPI_C_VERSION}" libopenmpi-dev "${unused}")
if(NOT VMA_WITH_JPEG STREQUAL "OFF")
  find_package(JPEG QUIET)
endif()
vma_switch_row(JPEG "${JPEG_FOUND}" "API ${JPEG_VERSION}" libjpeg-dev "${unused}")
if(NOT VMA_WITH_PNG STREQUAL "OFF")
  find_package(PNG QUIET)
endif()
vma_switch_row(PNG "${PNG_FOUND}" "${PNG_VERSION_STRING}" libpng-dev "${unused}")

find_program(VMA_CCACHE ccache)
mark_as_advanced(VMA_CCACHE)
if(VMA_CCACHE)
  if(NOT CMAKE_C_COMPILER_LAUNCHER)
    set(CMAKE_C_COMPILER_LAUNCHER ${VMA_CCACHE})
  endif()
  vma_feature_row(ccache "${VMA_CCACHE}" "makes a second build quick")
else()
  vma_feature_row(ccache "not found" "ccache; makes a second build quick")
endif()

function(vma_print_features)
  if(VMA_SANITIZE)
    set(with ", sanitizers ${VMA_SANITIZE}")
  endif()
  get_property(table GLOBAL PROPERTY VMA_FEATURES)
  message(STATUS "vma ${PROJECT_VERSION}, ${CMAKE_BUILD_TYPE}${with}: what was found\n\n${table}")
endfunction()
