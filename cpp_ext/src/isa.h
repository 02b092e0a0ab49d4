// Which instruction set the kernels use: chosen once, when first asked for.
#pragma once

namespace gp {

enum class Isa { generic, avx2, avx512, amx };

// The best one that the processor has, the operating system allows, and GOODPARTS_ISA does not forbid.
Isa isa();

const char* isa_name();

}  // namespace gp
