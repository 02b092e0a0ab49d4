# The files of `cmake --install`, and the CMake package for find_package(goodparts). CMakeLists.txt includes this file.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/goodparts)
set(parts goodparts)
if(NOT BUILD_SHARED_LIBS)
  list(APPEND parts goodparts_core)
  if(GOODPARTS_RUNTIME)
    list(APPEND parts goodparts_runtime)
  endif()
endif()
set_target_properties(goodparts PROPERTIES
  VERSION ${SKBUILD_PROJECT_VERSION} SOVERSION 3  # GP_API_VERSION
  INSTALL_RPATH_USE_LINK_PATH ON)  # so that an ONNX Runtime outside the system's folders is found after installation
install(TARGETS ${parts} EXPORT goodpartsTargets)
install(FILES include/goodparts.h TYPE INCLUDE)
if(GOODPARTS_RUNTIME)
  install(FILES include/goodparts_runtime.h include/goodparts.hpp TYPE INCLUDE)
endif()
install(EXPORT goodpartsTargets NAMESPACE goodparts:: DESTINATION ${package})
configure_package_config_file(cmake/goodpartsConfig.cmake.in goodpartsConfig.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(goodpartsConfigVersion.cmake
  VERSION ${SKBUILD_PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/goodpartsConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/goodpartsConfigVersion.cmake
        cmake/FindONNXRuntime.cmake DESTINATION ${package})
