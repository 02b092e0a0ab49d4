// Functions that the parts of the Python module share. They read arrays and make new ones.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <string>
#include <vector>

#include "goodparts.h"

namespace gp {

namespace nb = nanobind;

// Any object with __dlpack__ or the buffer protocol, on any device. The code below checks it, rather than nanobind, so
// that the message tells what is wrong.
using Array = nb::ndarray<nb::ro>;

// Return a shape as text, such as "[2,n]". A side of -1 is "n".
inline std::string shape_of(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t axis = 0; axis < shape.size(); ++axis)
    text += (axis ? "," : "") + (shape[axis] < 0 ? std::string("n") : std::to_string(shape[axis]));
  return text + "]";
}

inline std::string shape_of(const Array& array) {
  std::vector<int64_t> shape;
  for (size_t axis = 0; axis < array.ndim(); ++axis) shape.push_back(static_cast<int64_t>(array.shape(axis)));
  return shape_of(shape);
}

inline std::string dtype_of(const nb::dlpack::dtype& dtype) {
  const auto code = static_cast<nb::dlpack::dtype_code>(dtype.code);
  const char* kind = code == nb::dlpack::dtype_code::Float    ? "float"
                     : code == nb::dlpack::dtype_code::Int    ? "int"
                     : code == nb::dlpack::dtype_code::UInt   ? "uint"
                     : code == nb::dlpack::dtype_code::Bfloat ? "bfloat"
                                                              : "another kind of ";
  return kind + std::to_string(dtype.bits);
}

// Return the values of a float32 array in the CPU's memory. Throws TypeError for another dtype or device, ValueError
// for another shape or for gaps. A side of -1 accepts every length.
inline const float* floats(const Array& array, const char* name, const std::vector<int64_t>& shape) {
  bool fits = array.ndim() == shape.size();
  for (size_t axis = 0; fits && axis < shape.size(); ++axis)
    fits = shape[axis] < 0 || static_cast<int64_t>(array.shape(axis)) == shape[axis];
  if (array.dtype() != nb::dtype<float>())
    throw nb::type_error((std::string(name) + " is " + dtype_of(array.dtype()) + ": float32 is accepted").c_str());
  if (array.device_type() != nb::device::cpu::value)
    throw nb::type_error((std::string(name) + " is not in the CPU's memory: copy it there first").c_str());
  if (!fits)
    throw nb::value_error(
        (std::string(name) + " is " + shape_of(array) + ": " + shape_of(shape) + " is accepted").c_str());
  int64_t expected = 1;
  for (size_t axis = array.ndim(); axis-- > 0;) {
    if (array.size() > 0 && array.shape(axis) > 1 && array.stride(axis) != expected)
      throw nb::value_error(
          (std::string(name) + " has gaps or another order in memory: a C-contiguous array is accepted").c_str());
    expected *= static_cast<int64_t>(array.shape(axis));
  }
  return static_cast<const float*>(array.data());
}

// Return the fusion with this name. Throws ValueError for another name.
inline gp_fusion fusion_named(const std::string& name) {
  if (name == "paper") return GP_PAPER;
  if (name == "residual") return GP_RESIDUAL;
  if (name == "prompt") return GP_PROMPT;
  if (name == "memory") return GP_MEMORY_ONLY;
  throw nb::value_error(("fusion is '" + name + "': paper, residual, prompt and memory are accepted").c_str());
}

// A new numpy array, not initialised.
template <class T>
struct Made {
  nb::ndarray<nb::numpy, T> array;
  T* data;

  explicit Made(const std::vector<size_t>& shape) {
    size_t count = 1;
    for (size_t side : shape) count *= side;
    data = new T[count ? count : 1];
    nb::capsule owner(data, [](void* memory) noexcept { delete[] static_cast<T*>(memory); });
    array = nb::ndarray<nb::numpy, T>(data, shape.size(), shape.data(), owner);
  }
};

}  // namespace gp

void bind_cuda(nanobind::module_& m);
void bind_resize(nanobind::module_& m);
void bind_search(nanobind::module_& m);
void bind_score(nanobind::module_& m);
