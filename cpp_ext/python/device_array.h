// Arrays on the GPU, read and made. They are exchanged by DLPack, or by __cuda_array_interface__ if an object has only
// that. Nothing is copied, and no stream waits for another.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <string>
#include <vector>

#include "../cuda/cuda.h"
#include "bind.h"

namespace gp {

using namespace nb::literals;

// An array of the caller.
struct DeviceArray {
  void* data;
  nb::dlpack::dtype dtype;
  std::vector<int64_t> shape, strides;  // strides in elements
  bool on_device;
  int device;  // -1: unknown
  nb::object owner;

  // Return this array if it is as wanted. Throws TypeError for another dtype, ValueError for another shape or device or
  // for gaps. With `rows_apart`, gaps between rows are accepted. A side of -1 accepts every length.
  const DeviceArray& check(const char* name, const std::vector<nb::dlpack::dtype>& dtypes,
                           const std::vector<int64_t>& wanted, int wanted_device, bool rows_apart = false) const;
};

inline const DeviceArray& DeviceArray::check(const char* name, const std::vector<nb::dlpack::dtype>& dtypes,
                                             const std::vector<int64_t>& wanted, int wanted_device,
                                             bool rows_apart) const {
  bool known = false;
  std::string accepted;
  for (const auto& one : dtypes) {
    known = known || dtype == one;
    accepted += (accepted.empty() ? "" : ", ") + dtype_of(one);
  }
  const std::string subject = name;
  if (!known) throw nb::type_error((subject + " is " + dtype_of(dtype) + ": " + accepted + " is accepted").c_str());
  if (device >= 0 && wanted_device >= 0 && device != wanted_device)
    throw nb::value_error((subject + " is on device " + std::to_string(device) + ": device " +
                           std::to_string(wanted_device) + ", like that of the other arrays, is accepted")
                              .c_str());
  bool fits = shape.size() == wanted.size();
  for (size_t axis = 0; fits && axis < shape.size(); ++axis) fits = wanted[axis] < 0 || shape[axis] == wanted[axis];
  if (!fits)
    throw nb::value_error((subject + " is " + shape_of(shape) + ": " + shape_of(wanted) + " is accepted").c_str());
  int64_t expected = 1;
  for (size_t axis = shape.size(); axis-- > 0; expected *= shape[axis]) {
    if (shape[axis] < 2 || strides[axis] == expected || (rows_apart && axis == 0 && strides[axis] > expected)) continue;
    throw nb::value_error((subject + " has gaps or another order in memory: a C-contiguous array is accepted").c_str());
  }
  return *this;
}

inline DeviceArray from_interface(const nb::object& object) {
  const nb::dict interface = nb::cast<nb::dict>(object.attr("__cuda_array_interface__"));
  DeviceArray array{};
  array.data = reinterpret_cast<void*>(nb::cast<uintptr_t>(interface["data"][nb::int_(0)]));
  const std::string type = nb::cast<std::string>(interface["typestr"]);  // "<f4": order, kind, bytes
  const char kind = type.size() > 2 ? type[1] : '?';
  const auto code = kind == 'f'   ? nb::dlpack::dtype_code::Float
                    : kind == 'i' ? nb::dlpack::dtype_code::Int
                    : kind == 'u' ? nb::dlpack::dtype_code::UInt
                                  : nb::dlpack::dtype_code::Bool;
  const int bytes = type.size() > 2 ? std::atoi(type.c_str() + 2) : 1;
  array.dtype = {static_cast<uint8_t>(code), static_cast<uint8_t>(8 * bytes), 1};
  for (nb::handle side : interface["shape"]) array.shape.push_back(nb::cast<int64_t>(side));
  array.strides.resize(array.shape.size());
  const nb::object strides = interface.contains("strides") ? nb::object(interface["strides"]) : nb::none();
  int64_t expected = 1;
  for (size_t axis = array.shape.size(); axis-- > 0; expected *= array.shape[axis])
    array.strides[axis] = strides.is_none() ? expected : nb::cast<int64_t>(strides[nb::int_(axis)]) / bytes;
  array.on_device = true;
  array.device = -1;
  array.owner = object;
  return array;
}

// Read an object as an array. Throws TypeError unless it is an array on the GPU. With `anywhere`, an array in the CPU's
// memory is accepted too.
inline DeviceArray device_array(const nb::object& object, const char* name, bool anywhere = false) {
  constexpr int kCuda = 2, kManaged = 13;
  nb::ndarray<nb::ro> array;
  bool on_device = false;
  if (nb::hasattr(object, "__dlpack_device__") && nb::hasattr(object, "__dlpack__")) {
    const int kind = nb::cast<int>(nb::int_(object.attr("__dlpack_device__")()[nb::int_(0)]));
    on_device = kind == kCuda || kind == kManaged;
    if (on_device) {
      const nb::object give = object.attr("__dlpack__");
      nb::object capsule;
      try {
        capsule = give("stream"_a = -1);  // wait for no stream
      } catch (nb::python_error&) {       // some libraries do not know -1; any other error occurs again
        capsule = give();
      }
      array = nb::cast<nb::ndarray<nb::ro>>(capsule);
    }
  } else if (nb::hasattr(object, "__cuda_array_interface__")) {
    return from_interface(object);
  }
  if (!on_device) {
    const bool is_array = nb::try_cast(object, array);
    if (!anywhere || !is_array)
      throw nb::type_error(
          (std::string(name) + (is_array ? " is not in the GPU's memory: copy it there first"
                                         : " is " + std::string(nb::inst_name(object).c_str()) +
                                               ": an array with __dlpack__ or __cuda_array_interface__ "
                                               "is accepted"))
              .c_str());
  }
  DeviceArray seen{};
  seen.data = const_cast<void*>(array.data());
  seen.dtype = array.dtype();
  for (size_t axis = 0; axis < array.ndim(); ++axis) {
    seen.shape.push_back(static_cast<int64_t>(array.shape(axis)));
    seen.strides.push_back(array.stride(axis));
  }
  seen.on_device = on_device;
  seen.device = on_device ? array.device_id() : -1;
  seen.owner = object;
  return seen;
}

inline std::vector<nb::dlpack::dtype> feature_types() {
  return {nb::dtype<float>(),
          {static_cast<uint8_t>(nb::dlpack::dtype_code::Float), 16, 1},
          {static_cast<uint8_t>(nb::dlpack::dtype_code::Bfloat), 16, 1}};
}

inline cuda::Type feature_type(const DeviceArray& array) {
  if (array.dtype == feature_types()[0]) return cuda::Type::float32;
  return array.dtype == feature_types()[1] ? cuda::Type::float16 : cuda::Type::bfloat16;
}

// An array for results: its memory on the device, and the Python object that owns it.
struct DeviceOut {
  void* data;
  nb::object array;
};

inline DeviceOut written_to(const DeviceArray& array, const nb::object& given) { return {array.data, given}; }

template <class T>
DeviceOut made(const std::vector<int64_t>& shape, int device) {
  std::vector<size_t> sides(shape.begin(), shape.end());
  int64_t count = 1;
  for (int64_t side : shape) count *= side;
  auto* memory = new cuda::Array(count * static_cast<int64_t>(sizeof(T)), device);
  nb::capsule owner(memory, [](void* held) noexcept { delete static_cast<cuda::Array*>(held); });
  nb::ndarray<T, nb::array_api, nb::device::cuda> array(memory->data(), sides.size(), sides.data(), owner, nullptr,
                                                        nb::dtype<T>(), nb::device::cuda::value, device);
  return {memory->data(), nb::cast(array)};
}

}  // namespace gp
