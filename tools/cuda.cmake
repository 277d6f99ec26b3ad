# The CUDA backend's build: how a .cu file becomes an object. Included where CUDA was found (VMA_HAVE_CUDA).
#
# nvcc is called by hand and not as a CMake language: the objects are linked twice, into the module for a device and
# into the one for the simulated device, and the second needs nothing of the toolkit but the compiler.

set(VMA_CUDA_ARCHS "80;86;90" CACHE STRING "compute capabilities that kernels are compiled for (machine code and PTX)")

# What nvcc is called with for every object. tests/sim finds the kernels' PTX and lines in it.
function(vma_nvcc_flags out)
  set(codes "")
  foreach(arch ${VMA_CUDA_ARCHS})
    list(APPEND codes -gencode arch=compute_${arch},code=[sm_${arch},compute_${arch}])
  endforeach()
  string(JOIN "," host -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers -fPIC -fvisibility=hidden -ffp-contract=off
         -ffile-prefix-map=${CMAKE_BINARY_DIR}=build -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
  set(${out} -std=c++17 -O3 -lineinfo --no-compress --fmad=true -Werror all-warnings -Xptxas -v ${codes} -Xcompiler ${host} PARENT_SCOPE)
endfunction()

# vma_cuda_object(OUT source [flags...]): compiles for every architecture; OUT gets the object's path. What ptxas says of
# registers, shared memory and spills is kept beside it as NAME.ptxas.
function(vma_cuda_object out source)
  get_filename_component(name ${source} NAME_WE)
  get_filename_component(path ${source} ABSOLUTE)
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/cuda_objects)
  file(MAKE_DIRECTORY ${folder})
  set(object ${folder}/${name}.o)
  vma_nvcc_flags(flags)
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${CMAKE_SOURCE_DIR}/tools/nvcc.sh ${folder}/${name}.ptxas ${CUDAToolkit_NVCC_EXECUTABLE}
            ${flags} -D_GNU_SOURCE -I${CMAKE_SOURCE_DIR}/kernels -I${CMAKE_SOURCE_DIR}/kernels/core
            -I${CMAKE_SOURCE_DIR}/kernels/cuda ${ARGN} -MD -MF ${object}.d -c ${path} -o ${object}
    DEPENDS ${path} ${CMAKE_SOURCE_DIR}/tools/nvcc.sh
    DEPFILE ${object}.d
    COMMENT "Building CUDA object ${name}.o"
    VERBATIM)
  set(${out} ${object} PARENT_SCOPE)
endfunction()
