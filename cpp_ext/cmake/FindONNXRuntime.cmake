# Find ONNX Runtime's C API and define the target ONNXRuntime::ONNXRuntime. This looks in ONNXRuntime_ROOT (an unpacked
# release) and in the system's folders. ONNXRuntime_INCLUDE_DIR and ONNXRuntime_LIBRARY name the header's folder and the
# library directly. The Python package has the library too, as onnxruntime/capi/libonnxruntime.so.*; programs load it
# under the name libonnxruntime.so.1.
find_path(ONNXRuntime_INCLUDE_DIR onnxruntime_cxx_api.h
          PATH_SUFFIXES onnxruntime onnxruntime/core/session include/onnxruntime)
find_library(ONNXRuntime_LIBRARY NAMES onnxruntime libonnxruntime.so.1)
mark_as_advanced(ONNXRuntime_INCLUDE_DIR ONNXRuntime_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(ONNXRuntime REQUIRED_VARS ONNXRuntime_INCLUDE_DIR ONNXRuntime_LIBRARY
  REASON_FAILURE_MESSAGE "install libonnxruntime-dev (Debian has it since 13), or unpack a release of ONNX Runtime and \
set ONNXRuntime_ROOT to its folder")

if(ONNXRuntime_FOUND AND NOT TARGET ONNXRuntime::ONNXRuntime)
  add_library(ONNXRuntime::ONNXRuntime UNKNOWN IMPORTED)
  set_target_properties(ONNXRuntime::ONNXRuntime PROPERTIES
    IMPORTED_LOCATION "${ONNXRuntime_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES "${ONNXRuntime_INCLUDE_DIR}")
endif()
