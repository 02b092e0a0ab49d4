// Used by every function of the C API: an exception from inside becomes a gp_error.
#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>

#include "failure.h"
#include "goodparts.h"

namespace gp {

// Fill in the error, if it is not null. The message becomes one line of UTF-8. If it is too long, it is cut between two
// characters.
inline void report(gp_error* error, gp_code code, const char* message) noexcept {
  if (!error) return;
  error->code = code;
  size_t length = std::min(std::strlen(message), sizeof error->message - 1);
  while (length > 0 && (static_cast<unsigned char>(message[length]) & 0xC0) == 0x80) --length;
  // A hostile file can put control characters into a message. As spaces they break no line and control no terminal.
  std::transform(message, message + length, error->message,
                 [](char one) { return static_cast<unsigned char>(one) < ' ' || one == 127 ? ' ' : one; });
  error->message[length] = 0;
}

// Call work(). Return whether it ended without an exception; turn an exception into the error.
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

// Return the handle that make() creates, or null after an exception, which becomes the error.
template <class Handle, class Make>
Handle* created(gp_error* error, const Make& make) noexcept {
  Handle* handle = nullptr;
  guarded(error, [&] { handle = make(); });
  return handle;
}

}  // namespace gp
