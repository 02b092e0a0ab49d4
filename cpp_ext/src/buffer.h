// An array that vector instructions can load from: 64-byte aligned, filled with zeros, of a size that is set once.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace gp {

template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t count) : count_(count) {
    if (count == 0) return;
    data_.reset(static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(64))));
    std::memset(static_cast<void*>(data_.get()), 0, count * sizeof(T));
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  size_t size() const { return count_; }
  T& operator[](size_t index) { return data_.get()[index]; }
  const T& operator[](size_t index) const { return data_.get()[index]; }

 private:
  struct Free {
    void operator()(T* data) const { ::operator delete(data, std::align_val_t(64)); }
  };

  std::unique_ptr<T, Free> data_;
  size_t count_ = 0;
};

}  // namespace gp
