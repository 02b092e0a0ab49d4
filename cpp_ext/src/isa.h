// The instruction set that the kernels use. It is chosen once, at the first use.
#pragma once

namespace gp {

enum class Isa { generic, avx2, avx512, amx };

// Return the best instruction set that the processor has and the operating system allows. If the environment variable
// GOODPARTS_ISA names a lower one, return that.
Isa isa();

const char* isa_name();

}  // namespace gp
