// Two warp-wide instructions: one loads 8×8 blocks from shared memory, the other multiplies them on tensor cores.
//
// Both are described in bytes. A block has 8 rows of 16 bytes. Lane l holds 4 bytes of it: those of row l/4 from byte
// 4·(l%4) on. The left factor has 16 rows of 32 bytes; its blocks are numbered down, then across. The right factor has
// 8 rows of 32 bytes, which are the columns of the product; its blocks are numbered across. The product is [16,8].
// Lane l holds columns 2·(l%4) and 2·(l%4)+1 of row l/4, then the same columns of row l/4+8. (PTX ISA, "Matrix
// fragments for mma.m16n8k16" and ".m16n8k32", and "ldmatrix".)
#pragma once

#include <cstdint>

namespace gp::cuda {

// The three formats that are multiplied, 32 bytes of a row at a time, with the type of their sums.
struct Half {
  using Sum = float;
};
struct Bfloat {
  using Sum = float;
};
struct Int8 {
  using Sum = int32_t;
};

#ifdef __CUDACC__

// Load four blocks. Lanes 8·b to 8·b+7 pass the addresses of the rows of block b.
__device__ inline void load_blocks(uint32_t (&blocks)[4], const void* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(blocks[0]), "=r"(blocks[1]), "=r"(blocks[2]), "=r"(blocks[3])
               : "r"(address)
               : "memory");
}

#define GP_MULTIPLY(instruction, kind)                                                  \
  asm volatile(instruction " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"     \
               : "+" kind(sum[0]), "+" kind(sum[1]), "+" kind(sum[2]), "+" kind(sum[3]) \
               : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1))

// Compute sum += left · rightᵀ.
__device__ inline void multiply(Half, float (&sum)[4], const uint32_t (&left)[4], uint32_t right0, uint32_t right1) {
#if __CUDA_ARCH__ >= 800
  GP_MULTIPLY("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", "f");
#else
  const uint32_t right[2] = {right0, right1};
#pragma unroll
  for (int part = 0; part < 2; ++part)
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(left[2 * part]), "r"(left[2 * part + 1]), "r"(right[part]));
#endif
}

__device__ inline void multiply(Bfloat, float (&sum)[4], const uint32_t (&left)[4], uint32_t right0, uint32_t right1) {
#if __CUDA_ARCH__ >= 800
  GP_MULTIPLY("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", "f");
#endif
}

__device__ inline void multiply(Int8, int32_t (&sum)[4], const uint32_t (&left)[4], uint32_t right0, uint32_t right1) {
#if __CUDA_ARCH__ >= 800
  GP_MULTIPLY("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", "r");
#else
  const uint32_t right[2] = {right0, right1};
#pragma unroll
  for (int block = 0; block < 4; ++block)  // block%2: which 8 rows; block/2: which 16 bytes
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"
                 : "+r"(sum[block % 2 * 2]), "+r"(sum[block % 2 * 2 + 1])
                 : "r"(left[block]), "r"(right[block / 2]));
#endif
}

#undef GP_MULTIPLY

#endif  // without nvcc, on_cpu/cuda_runtime.h defines them

}  // namespace gp::cuda
