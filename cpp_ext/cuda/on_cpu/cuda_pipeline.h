// Asynchronous copies on the CPU; see cuda_runtime.h.
#pragma once

#include "cuda_runtime.h"

inline void __pipeline_memcpy_async(void* to, const void* from, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(to) % bytes || reinterpret_cast<uintptr_t>(from) % bytes)
    on_cpu::fail("an asynchronous copy is not aligned");
  std::memset(to, on_cpu::kSpoilt, bytes);
  on_cpu::block.threads[on_cpu::block.current].copies.back().push_back({to, from, bytes});
}

inline void __pipeline_commit() { on_cpu::block.threads[on_cpu::block.current].copies.emplace_back(); }

// Wait until all groups except the last `younger` ones have arrived.
inline void __pipeline_wait_prior(size_t younger) {
  auto& groups = on_cpu::block.threads[on_cpu::block.current].copies;
  while (groups.size() > younger + 1) {
    for (const on_cpu::Copy& copy : groups.front()) std::memcpy(copy.to, copy.from, copy.bytes);
    groups.erase(groups.begin());
  }
}
