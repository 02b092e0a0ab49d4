#include "isa.h"

#include <cstdlib>
#include <cstring>
#include <iterator>

#if defined(GP_X86) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace gp {
namespace {

constexpr const char* kNames[] = {"generic", "avx2", "avx512", "amx"};

#ifdef GP_X86
// Ask Linux for AMX's registers, which are large: a process gets them only on request.
bool amx_granted() {
#ifdef __linux__
  constexpr int kRequest = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}

Isa best() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::generic;
  for (bool has : {__builtin_cpu_supports("avx512f") != 0, __builtin_cpu_supports("avx512bw") != 0,
                   __builtin_cpu_supports("avx512dq") != 0, __builtin_cpu_supports("avx512vl") != 0,
                   __builtin_cpu_supports("avx512vnni") != 0})
    if (!has) return Isa::avx2;
  unsigned eax = 7, ebx, ecx = 0, edx;
  __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25;
  const bool amx = (edx & kBf16) && (edx & kTile) && (edx & kInt8);
  return amx && amx_granted() ? Isa::amx : Isa::avx512;
}
#else
Isa best() { return Isa::generic; }
#endif

Isa choose() {
  const char* wanted = std::getenv("GOODPARTS_ISA");
  int limit = static_cast<int>(std::size(kNames)) - 1;
  for (int index = 0; wanted && index <= limit; ++index)
    if (std::strcmp(wanted, kNames[index]) == 0) limit = index;
  // With "generic" do not query the processor: valgrind and emulators do not support every instruction that it has.
  if (limit == 0) return Isa::generic;
  const int found = static_cast<int>(best());
  return static_cast<Isa>(found < limit ? found : limit);
}

}  // namespace

Isa isa() {
  static const Isa chosen = choose();
  return chosen;
}

const char* isa_name() { return kNames[static_cast<int>(isa())]; }

}  // namespace gp
