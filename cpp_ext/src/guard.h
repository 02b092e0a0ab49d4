// The edge of the C API: what is thrown inside becomes a gp_error.
#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>

#include "failure.h"
#include "goodparts.h"

namespace gp {

// One line of UTF-8, cut between two characters where it is too long.
inline void report(gp_error* error, gp_code code, const char* message) noexcept {
  if (!error) return;
  error->code = code;
  size_t length = std::min(std::strlen(message), sizeof error->message - 1);
  while (length > 0 && (static_cast<unsigned char>(message[length]) & 0xC0) == 0x80) --length;
  // What a hostile file puts into a message stays one line, and no terminal obeys it.
  std::transform(message, message + length, error->message,
                 [](char one) { return static_cast<unsigned char>(one) < ' ' || one == 127 ? ' ' : one; });
  error->message[length] = 0;
}

template <class Work>
bool guarded(gp_error* error, const Work& work) noexcept {
  try {
    work();
    return true;
  } catch (const Invalid& problem) {
    report(error, GP_INVALID, problem.what());
  } catch (const Failure& problem) {
    report(error, problem.code, problem.what());
  } catch (const std::bad_alloc&) {
    report(error, GP_MEMORY, "not enough memory");
  } catch (const std::exception& problem) {
    report(error, GP_INTERNAL, problem.what());
  }
  return false;
}

template <class Handle, class Make>
Handle* created(gp_error* error, const Make& make) noexcept {
  Handle* handle = nullptr;
  guarded(error, [&] { handle = make(); });
  return handle;
}

}  // namespace gp
