// The kernel of the search. It computes products on tensor cores and keeps only their running maximum.
#pragma once

#include <cuda_pipeline.h>

#include <type_traits>

#include "arithmetic.h"
#include "pack.h"
#include "search_state.h"
#include "tensor_core.h"

namespace gp::cuda {

GP_SHARED_ARRAY(uint4, search_shared);

// How the warps of a block divide its tile of products [queries,rows], and how many blocks a multiprocessor should run.
// Shared memory holds `stages` stages. A stage holds one slice, of `segments` segments, of each query and row of the
// tile.
template <int queries, int rows, int warps_down, int warps_across, int segments, int stages, int blocks>
struct Shape {
  static constexpr int kQueries = queries, kRows = rows, kSegments = segments, kStages = stages, kBlocks = blocks;
  static constexpr int kWarpsDown = warps_down, kThreads = warps_down * warps_across * kWarp;
  static constexpr int kWarpQueries = queries / warps_down, kWarpRows = rows / warps_across;
  static constexpr int kStageSegments = (queries + rows) * segments;
  static constexpr int kSharedBytes = stages * kStageSegments * kSegment;
  static_assert(kRowBytes % (segments * kSegment) == 0, "rows are whole slices");
};

// With a larger shape, rows and queries are read less often. With a smaller one, there are more blocks for the device.
using Small = Shape<64, 64, 2, 2, 8, 3, 3>;
using Medium = Shape<128, 64, 2, 2, 4, 4, 2>;
using Large = Shape<256, 128, 4, 2, 4, 4, 1>;

struct Task {
  const Rows* rows;
  const uint8_t* queries;
  unsigned long long* keys;
  int row_bytes;
};

struct Tasks {
  Task task[GP_MAX_BANKS];
};

// Copies a slice of the block's queries and of a tile of the bank's rows from device memory to a stage. Beyond the
// last query or row, the last one is copied again.
template <class Shape>
struct Loader {
  const Task& task;
  const Rows& rows;
  int first_query, last_query;

  __device__ void copy(uint4* stage, int tile, int slice) const {
    copy_part<Shape::kQueries>(stage, task.queries, first_query, last_query, slice);
    copy_part<Shape::kRows>(stage + Shape::kQueries * Shape::kSegments, rows.data, tile * Shape::kRows, rows.count - 1,
                            slice);
  }

 private:
  template <int kCount>
  __device__ void copy_part(uint4* to, const uint8_t* from, int first, int last, int slice) const {
    static_assert(kCount * Shape::kSegments % Shape::kThreads == 0, "every thread copies the same amount");
#pragma unroll
    for (int part = 0; part < kCount * Shape::kSegments / Shape::kThreads; ++part) {
      const int number = part * Shape::kThreads + threadIdx.x;
      const int row = number / Shape::kSegments, segment = number % Shape::kSegments;
      const int64_t source = first + row < last ? first + row : last;
      __pipeline_memcpy_async(to + segment_at<Shape::kSegments>(row, segment),
                              from + source * task.row_bytes + (slice * Shape::kSegments + segment) * kSegment,
                              kSegment);
    }
  }
};

// Search all banks. grid: (blocks of queries, workers, banks). A worker takes every gridDim.y-th tile of rows. A step
// multiplies one slice of a tile. While it does so, the slices of the next steps are being copied, also across tiles.
template <class Format, class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks) search_kernel(const Tasks tasks, int queries) {
  using Sum = typename Format::Sum;
  constexpr int kDown = Shape::kWarpQueries / 16, kAcross = Shape::kWarpRows / 8;  // products [16,8] of a warp
  const Task task = tasks.task[blockIdx.z];
  const Rows rows = *task.rows;
  const int tiles = (rows.count + Shape::kRows - 1) / Shape::kRows;
  const int slices = task.row_bytes / (Shape::kSegments * kSegment);
  if (static_cast<int>(blockIdx.y) >= tiles) return;
  const int steps = ((tiles - 1 - static_cast<int>(blockIdx.y)) / static_cast<int>(gridDim.y) + 1) * slices;

  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int warp_query = warp % Shape::kWarpsDown * Shape::kWarpQueries;
  const int warp_row = warp / Shape::kWarpsDown * Shape::kWarpRows;
  const int first_query = blockIdx.x * Shape::kQueries;
  const Loader<Shape> loader{task, rows, first_query, queries - 1};

  const auto at = [](int row, int segment) { return segment_at<Shape::kSegments>(row, segment); };
  Sum sum[kDown][kAcross][4] = {};
  float best[kDown][2];
  int where[kDown][2];
#pragma unroll
  for (int down = 0; down < kDown; ++down) {
    best[down][0] = best[down][1] = -bits_as<float>(kInfinity);
    where[down][0] = where[down][1] = 0;
  }

  int next_tile = blockIdx.y, next_slice = 0, asked = 0;  // the step whose copy is requested next
  auto ask = [&] {
    if (asked < steps)
      loader.copy(search_shared + asked % Shape::kStages * Shape::kStageSegments, next_tile, next_slice);
    __pipeline_commit();
    ++asked;
    if (++next_slice == slices) next_slice = 0, next_tile += gridDim.y;
  };
  for (int stage = 0; stage < Shape::kStages - 1; ++stage) ask();

  int tile = blockIdx.y, slice = 0;
  for (int step = 0; step < steps; ++step) {
    __pipeline_wait_prior(Shape::kStages - 2);
    __syncthreads();  // all threads can read this step's slice, and none reads the stage that `ask` fills
    ask();
    const uint4* left = search_shared + step % Shape::kStages * Shape::kStageSegments;
    const uint4* right = left + Shape::kQueries * Shape::kSegments;
#pragma unroll
    for (int segment = 0; segment < Shape::kSegments; segment += 2) {
      uint32_t a[kDown][4], b[kAcross / 2][4];
#pragma unroll
      for (int down = 0; down < kDown; ++down)
        load_blocks(a[down], left + at(warp_query + down * 16 + lane % 16, segment + lane / 16));
#pragma unroll
      for (int pair = 0; pair < kAcross / 2; ++pair)
        load_blocks(b[pair], right + at(warp_row + pair * 16 + lane / 16 * 8 + lane % 8, segment + lane / 8 % 2));
#pragma unroll
      for (int down = 0; down < kDown; ++down)
#pragma unroll
        for (int across = 0; across < kAcross; ++across)
          multiply(Format(), sum[down][across], a[down], b[across / 2][across % 2 * 2],
                   b[across / 2][across % 2 * 2 + 1]);
    }
    if (++slice < slices) continue;

    // The products of the tile are complete. Rows come in ascending order, so the first of equal products stays.
    const int first_row = tile * Shape::kRows + warp_row + lane % 4 * 2;
#pragma unroll
    for (int across = 0; across < kAcross; ++across)
#pragma unroll
      for (int column = 0; column < 2; ++column) {
        const int row = first_row + across * 8 + column;
        float scale = 1;
        if constexpr (std::is_same_v<Sum, int32_t>) scale = rows.scales[row < rows.count ? row : rows.count - 1];
#pragma unroll
        for (int down = 0; down < kDown; ++down)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            Sum& done = sum[down][across][half * 2 + column];
            const float product = static_cast<float>(done) * scale;
            done = 0;
            if (product > best[down][half]) best[down][half] = product, where[down][half] = row;
          }
      }
    slice = 0;
    tile += gridDim.y;
  }

#pragma unroll
  for (int down = 0; down < kDown; ++down)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = where[down][half] < rows.count ? where[down][half] : rows.count - 1;
      unsigned long long key = key_of(best[down][half], row);
      for (int offset = 1; offset < 4; offset *= 2) {
        const unsigned long long other = __shfl_xor_sync(kWholeWarp, key, offset);
        key = key > other ? key : other;
      }
      const int query = first_query + warp_query + down * 16 + half * 8 + lane / 4;
      if (lane % 4 == 0 && query < queries) atomicMax(task.keys + query, key);
    }
}

}  // namespace gp::cuda
