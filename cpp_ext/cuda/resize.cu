// Cropping, colour conversion and Pillow's antialiased bicubic filter in one launch. The result equals Pillow's, bit
// for bit.
#include <algorithm>
#include <array>
#include <cmath>
#include <list>
#include <mutex>

#include "arithmetic.h"
#include "runtime.h"

namespace gp::cuda {

GP_SHARED_ARRAY(uint32_t, resize_shared);

namespace {

constexpr int kColumns = 32;  // columns of the output that a block computes, one for each lane
constexpr int kWarps = 8;
constexpr int kStrip = 512;    // pixels of a source row that a warp holds at once
constexpr int kMostRows = 16;  // rows of the output that a block computes, at most
constexpr int kMaxSide = 65535;

// The filters along one axis. Output i is the sum of count[i] samples from first[i] on, with fixed-point weights. The
// weights are stored as [taps,outputs], so that neighbouring outputs read neighbouring weights.
struct Axis {
  const int* first;
  const int* count;
  const int* weights;
  int out;
};

struct Frame {
  const uint8_t* data;
  const uint8_t* chroma;
  int64_t stride, chroma_stride;
  gp_format format;
  int left, top;  // of the box
};

// Return a pixel as red | green << 8 | blue << 16. x, y: in the box.
__device__ inline uint32_t pixel(const Frame& frame, int x, int y) {
  x += frame.left, y += frame.top;
  const uint8_t* row = frame.data + y * frame.stride;
  if (frame.format == GP_RGB) return pack_rgb(row[3 * x], row[3 * x + 1], row[3 * x + 2]);
  if (frame.format == GP_BGR) return pack_rgb(row[3 * x + 2], row[3 * x + 1], row[3 * x]);
  if (frame.format == GP_GREY) return pack_rgb(row[x], row[x], row[x]);
  if (frame.format == GP_YUYV) {
    const uint8_t* pair = row + x / 2 * 4;
    return yuv_to_rgb(row[2 * x], pair[1], pair[3]);
  }
  const uint8_t* pair = frame.chroma + y / 2 * frame.chroma_stride + x / 2 * 2;
  return yuv_to_rgb(row[x], pair[0], pair[1]);
}

struct Sums {
  int red = 1 << (kWeightBits - 1), green = red, blue = red;

  __device__ void add(uint32_t colour, int weight) {
    red += static_cast<int>(colour & 255u) * weight;
    green += static_cast<int>(colour >> 8 & 255u) * weight;
    blue += static_cast<int>(colour >> 16 & 255u) * weight;
  }
  __device__ uint32_t rounded() const {
    return pack_rgb(clip8(red >> kWeightBits), clip8(green >> kWeightBits), clip8(blue >> kWeightBits));
  }
};

// Resample. A block computes kColumns × `rows` pixels. First it resamples the source rows that they need across, into
// `band`. Then it resamples the band down. Shared memory: a strip for each warp, then the band [source rows,kColumns].
__global__ void __launch_bounds__(kWarps * 32)
    resize_kernel(const Frame frame, const Axis across, const Axis down, int rows, uint8_t* out) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint32_t* strip = resize_shared + warp * kStrip;
  uint32_t* band = resize_shared + kWarps * kStrip;
  const int column = blockIdx.x * kColumns + lane,
            last_column = min(static_cast<int>(blockIdx.x + 1) * kColumns, across.out) - 1;
  const int first_row = blockIdx.y * rows, last_row = min(first_row + rows, down.out) - 1;
  const bool inside = column < across.out;
  const int first = inside ? across.first[column] : 0, count = inside ? across.count[column] : 0;
  const int left = across.first[blockIdx.x * kColumns], right = across.first[last_column] + across.count[last_column];
  const int top = down.first[first_row], bottom = down.first[last_row] + down.count[last_row];

  for (int y = top + warp; y < bottom; y += kWarps) {
    Sums sums;
    for (int start = left; start < right; start += kStrip) {
      const int stop = min(start + kStrip, right);
      for (int x = start + lane; x < stop; x += 32) strip[x - start] = pixel(frame, x, y);
      __syncwarp();
      const int end = min(first + count, stop);
      for (int x = max(first, start); x < end; ++x)
        sums.add(strip[x - start], across.weights[int64_t{x - first} * across.out + column]);
      __syncwarp();  // all lanes have read the strip before it is filled again
    }
    band[(y - top) * kColumns + lane] = sums.rounded();
  }
  __syncthreads();
  for (int row = first_row + warp; row <= last_row; row += kWarps) {
    if (!inside) continue;
    Sums sums;
    for (int tap = 0; tap < down.count[row]; ++tap)
      sums.add(band[(down.first[row] + tap - top) * kColumns + lane], down.weights[int64_t{tap} * down.out + row]);
    const uint32_t colour = sums.rounded();
    uint8_t* to = out + (int64_t{row} * across.out + column) * 3;
    to[0] = colour & 255u, to[1] = colour >> 8 & 255u, to[2] = colour >> 16 & 255u;
  }
}

// The filters between two lengths, computed as in Pillow's precompute_coeffs and normalize_coeffs_8bpc.
struct Filters {
  std::vector<int> first, count, weights;

  Filters(int64_t in, int64_t out) : first(static_cast<size_t>(out)), count(first.size()) {
    const double scale = static_cast<double>(in) / static_cast<double>(out), stretch = std::max(scale, 1.0);
    const double support = 2 * stretch;
    std::vector<std::vector<int>> of_output(first.size());
    size_t taps = 0;
    for (size_t at = 0; at < first.size(); ++at) {
      const double center = (static_cast<double>(at) + 0.5) * scale;
      const int64_t begin = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
      const int64_t end = std::min(static_cast<int64_t>(center + support + 0.5), in);
      std::vector<double> values;
      double sum = 0;
      for (int64_t x = begin; x < end; ++x) {
        values.push_back(cubic((static_cast<double>(x) - center + 0.5) * (1 / stretch)));
        sum += values.back();
      }
      for (double value : values) {
        const double fixed = value / sum * (1 << kWeightBits);
        of_output[at].push_back(static_cast<int>(fixed < 0 ? fixed - 0.5 : fixed + 0.5));
      }
      first[at] = static_cast<int>(begin);
      count[at] = static_cast<int>(end - begin);
      taps = std::max(taps, values.size());
    }
    weights.resize(taps * first.size());
    for (size_t at = 0; at < first.size(); ++at)
      for (size_t tap = 0; tap < of_output[at].size(); ++tap) weights[tap * first.size() + at] = of_output[at][tap];
  }

  // Return the largest number of samples that a block of `rows` outputs needs.
  int64_t reach(int64_t rows) const {
    int64_t most = 0;
    for (size_t at = 0; at < first.size(); at += static_cast<size_t>(rows)) {
      const size_t last = std::min(at + static_cast<size_t>(rows), first.size()) - 1;
      most = std::max<int64_t>(most, first[last] + count[last] - first[at]);
    }
    return most;
  }
};

Memory upload(const std::vector<int>& values) { return Memory(values.data(), values.size() * sizeof(int)); }

// The filters between two lengths on a device. For the vertical axis it also has the number of rows that a block
// computes, and the shared memory that the block needs. A block computes as many rows as fit into the usual shared
// memory. If not even one row fits, it computes one row and uses up to all the memory that the device allows.
struct DeviceAxis {
  DeviceAxis(const Filters& filters, int device)
      : first(upload(filters.first)),
        count(upload(filters.count)),
        weights(upload(filters.weights)),
        out(static_cast<int>(filters.first.size())),
        most_shared(static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device))) {
    const auto usual = static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlock, device));
    const auto bytes = [&] {
      return sizeof(uint32_t) * static_cast<size_t>(kWarps * kStrip + filters.reach(rows) * kColumns);
    };
    while (rows > 1 && bytes() > usual) rows /= 2;
    shared = bytes();
    load_code(&resize_kernel);
    if (shared > usual && shared <= most_shared)
      GP_CUDA(cudaFuncSetAttribute(&resize_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(most_shared)));
  }

  Axis shown() const { return {first.as<int>(), count.as<int>(), weights.as<int>(), out}; }

  Memory first, count, weights;
  int out, rows = kMostRows;
  size_t shared = 0, most_shared;
  bool in_graph = false;
};

// Return the filters between two lengths, and keep the most recently used ones: the frames of a camera have one size,
// and tiles have at most two lengths per axis. A captured graph reads its filters at every launch, so these are kept
// until the process ends.
std::shared_ptr<const DeviceAxis> axis_for(int device, int64_t in, int64_t out, bool captured) {
  using Key = std::array<int64_t, 3>;
  constexpr size_t kKept = 32;
  static std::mutex mutex;
  // The list is never freed, because the device may not be usable any more when the process ends.
  static auto& kept = *new std::list<std::pair<Key, std::shared_ptr<DeviceAxis>>>;  // the last used is first
  const std::lock_guard<std::mutex> lock(mutex);
  const Key wanted = {device, in, out};
  auto found = std::find_if(kept.begin(), kept.end(), [&](const auto& one) { return one.first == wanted; });
  if (found == kept.end()) {
    require(!captured, "resizing " + std::to_string(in) + " to " + std::to_string(out) +
                           " pixels is captured before it ever ran: run it once before the capture");
    const auto oldest = std::find_if(kept.rbegin(), kept.rend(), [](const auto& one) { return !one.second->in_graph; });
    if (kept.size() >= kKept && oldest != kept.rend()) kept.erase(std::next(oldest).base());
    kept.emplace_front(wanted, std::make_shared<DeviceAxis>(Filters(in, out), device));
    found = kept.begin();
  }
  kept.splice(kept.begin(), kept, found);
  found->second->in_graph |= captured;
  return found->second;
}

std::string size_text(int64_t width, int64_t height) { return std::to_string(width) + "×" + std::to_string(height); }

void check_size(const char* name, int64_t width, int64_t height) {
  require(std::min(width, height) >= 1 && std::max(width, height) <= kMaxSide,
          std::string(name) + " is " + size_text(width, height) + ": 1 to 65535 pixels a side are accepted");
}

gp_box checked(const gp_frame& frame, const gp_box* asked, int64_t out_width, int64_t out_height) {
  const auto& [data, chroma, width, height, stride, chroma_stride, format] = frame;
  require(format >= GP_RGB && format <= GP_YUYV, "frame format is " + std::to_string(format) + ": 0 to 4 are accepted");
  check_size("frame", width, height);
  check_size("out", out_width, out_height);
  const int64_t row = width * (format == GP_YUYV ? 2 : format == GP_RGB || format == GP_BGR ? 3 : 1);
  require(data, "frame is null");
  require(stride >= row, "frame stride is " + std::to_string(stride) + " bytes: a row has " + std::to_string(row));
  require(format != GP_NV12 || (chroma && chroma_stride >= width),
          "chroma is null or its rows are closer than " + std::to_string(width) + " bytes");
  require((format != GP_NV12 && format != GP_YUYV) || width % 2 == 0,
          "frame is " + std::to_string(width) +
              " pixels wide: two pixels share their chroma, so an even width is "
              "accepted");
  require(format != GP_NV12 || height % 2 == 0, "frame is " + std::to_string(height) +
                                                    " pixels high: two rows share their chroma, so an even height is "
                                                    "accepted");
  const gp_box box = asked ? *asked : gp_box{0, 0, width, height};
  require(box.x >= 0 && box.y >= 0 && box.width >= 1 && box.height >= 1 && box.x <= width - box.width &&
              box.y <= height - box.height,
          "box is " + size_text(box.width, box.height) + " at (" + std::to_string(box.x) + "," + std::to_string(box.y) +
              "): at least 1×1 inside the frame of " + size_text(width, height) + " is accepted");
  return box;
}

}  // namespace

void resize(const gp_frame& frame, const gp_box* asked, int64_t out_width, int64_t out_height, void* out, int device,
            void* stream) {
  const gp_box box = checked(frame, asked, out_width, out_height);
  require(out, "out is null");
  const OnDevice on(device);
  const bool captured = is_capturing(stream);
  const auto across = axis_for(device, box.width, out_width, captured);
  const auto down = axis_for(device, box.height, out_height, captured);
  require(down->shared <= down->most_shared,
          "frame of " + std::to_string(box.height) + " rows to " + std::to_string(out_height) +
              ": too many times smaller for this device's shared memory; resize in two steps");
  const Frame shown{frame.data,
                    frame.chroma,
                    frame.stride,
                    frame.chroma_stride,
                    frame.format,
                    static_cast<int>(box.x),
                    static_cast<int>(box.y)};
  const dim3 grid((across->out + kColumns - 1) / kColumns, (down->out + down->rows - 1) / down->rows);
  launch("resize_kernel", &resize_kernel, grid, kWarps * 32, down->shared, stream, shown, across->shown(),
         down->shown(), down->rows, static_cast<uint8_t*>(out));
}

}  // namespace gp::cuda
