# The whole runtime, which uses ONNX Runtime, as a part of libgoodparts. CMakeLists.txt includes this file.
list(APPEND CMAKE_MODULE_PATH ${CMAKE_CURRENT_SOURCE_DIR}/cmake)
find_package(ONNXRuntime REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(PNG REQUIRED)
find_package(nlohmann_json 3.9 REQUIRED)  # headers only, so libgoodparts does not depend on a library

add_library(goodparts_runtime STATIC
  runtime/detector.cpp runtime/engine.cpp runtime/fields.cpp runtime/files.cpp runtime/header.cpp runtime/product.cpp
  runtime/recipe.cpp runtime/regions.cpp runtime/session.cpp runtime/view.cpp)
target_include_directories(goodparts_runtime PRIVATE src runtime)
target_compile_options(goodparts_runtime PRIVATE -Wall -Wextra -Wpedantic)
target_link_libraries(goodparts_runtime PUBLIC goodparts_core PRIVATE
  ONNXRuntime::ONNXRuntime OpenSSL::Crypto PNG::PNG $<BUILD_INTERFACE:nlohmann_json::nlohmann_json>)
target_sources(goodparts PRIVATE runtime/api.cpp)
target_link_libraries(goodparts PRIVATE goodparts_runtime)

add_executable(inspect examples/inspect.cpp)
target_link_libraries(inspect PRIVATE goodparts PNG::PNG nlohmann_json::nlohmann_json)
add_executable(fuzz_runtime fuzz/fuzz_runtime.cpp)
target_include_directories(fuzz_runtime PRIVATE src runtime)
target_link_libraries(fuzz_runtime PRIVATE goodparts_runtime)
target_compile_definitions(fuzz_runtime PRIVATE GP_FUZZ_MAIN)
