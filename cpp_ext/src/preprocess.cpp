#include "preprocess.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "buffer.h"
#include "failure.h"
#include "isa.h"
#include "parallel.h"
#include "resize_kernels.h"

namespace gp {
namespace {

constexpr int64_t kMaxSide = 65535;
constexpr int64_t kWorthSharing = 1 << 19;  // pixels that one thread resamples before another thread has woken up
constexpr int64_t kFewestRows = 16;  // of output per thread; neighbouring parts both read the rows that a filter spans
constexpr int64_t kColumns = 192;    // packed at a time, so that they are still in the first-level cache when used
constexpr int64_t kAhead = 64;       // columns are packed in multiples of this, which makes conversion fast
constexpr int64_t kKeptWeights = 1 << 18;  // words; filters with more weights are computed for each call

const ResizeKernels& kernels() {
#ifdef GP_X86
  if (isa() >= Isa::avx512) return resize_avx512;
  if (isa() == Isa::avx2) return resize_avx2;
#endif
  return resize_generic;
}

// ---- Filters ----

double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// The filters of all outputs along one axis, computed as Pillow does.
class Axis {
 public:
  Axis(int64_t in, int64_t out, int taps, int digits) : in_(in), out_(out), first_(out), count_(out) {
    const double scale = static_cast<double>(in) / static_cast<double>(out), stretch = std::max(scale, 1.0);
    const double support = 2 * stretch;
    const int64_t reach = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
    groups_ = (std::min(reach, in) + taps - 2) / taps + 1;
    stride_ = groups_ * digits;
    weights_.resize(out * stride_);
    std::vector<double> values(std::min(reach, in));
    for (int64_t index = 0; index < out; ++index) {
      const double center = (static_cast<double>(index) + 0.5) * scale;
      int64_t first = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
      int64_t last = std::min(static_cast<int64_t>(center + support + 0.5), in);
      if (in == out) first = index, last = index + 1;  // the rest would be zeros
      double sum = 0;
      for (int64_t at = first; at < last; ++at)
        sum += values[at - first] = cubic((static_cast<double>(at) - center + 0.5) * (1 / stretch));
      pack(index, first, last, values.data(), sum, taps, digits);
    }
  }

  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  int64_t most_groups() const { return groups_; }
  int64_t begin(int64_t index) const { return first_[index]; }
  int64_t end(int64_t index) const { return first_[index] + count_[index]; }
  bool small() const { return out_ * stride_ <= kKeptWeights; }
  ResizeAxis filters() const { return {first_.data(), count_.data(), weights_.data(), stride_}; }

 private:
  // Round the coefficients of one output to fixed point and split them into digits.
  void pack(int64_t index, int64_t first, int64_t last, const double* values, double sum, int taps, int digits) {
    first_[index] = static_cast<int32_t>(first / taps);
    count_[index] = static_cast<int32_t>((last - 1) / taps - first / taps + 1);
    const int bits = 32 / taps;
    uint32_t* words = weights_.data() + index * stride_;
    for (int64_t at = first; at < last; ++at) {
      const double value = values[at - first] / sum * (1 << kResizePrecision);
      int64_t rest = static_cast<int32_t>(value < 0 ? value - 0.5 : value + 0.5);
      uint32_t* word = words + (at / taps - first_[index]) * digits;
      for (int digit = 0; digit < digits; ++digit) {
        const int64_t half = int64_t{1} << (bits - 1), low = ((rest + half) & (2 * half - 1)) - half;
        word[digit] |= (static_cast<uint32_t>(low) & static_cast<uint32_t>(2 * half - 1)) << (at % taps * bits);
        rest = (rest - low) >> bits;
      }
    }
  }

  int64_t in_, out_, groups_, stride_;
  std::vector<int32_t> first_, count_;
  std::vector<uint32_t> weights_;
};

// Return the filters between two lengths. All frames of a camera have one size, so each thread keeps the filters that
// it used last.
std::shared_ptr<const Axis> axis(int64_t in, int64_t out) {
  constexpr size_t kKept = 8;
  thread_local std::vector<std::shared_ptr<const Axis>> kept;
  for (const auto& one : kept)
    if (one->in() == in && one->out() == out) return one;
  auto made = std::make_shared<const Axis>(in, out, kernels().taps, kernels().digits);
  if (made->small()) {
    if (kept.size() == kKept) kept.erase(kept.begin());
    kept.push_back(made);
  }
  return made;
}

// ---- Frames ----

std::string size_text(int64_t width, int64_t height) { return std::to_string(width) + "×" + std::to_string(height); }

[[noreturn]] void fail(const std::string& message) { throw Invalid(message); }

void check_size(const char* name, int64_t width, int64_t height) {
  if (std::min(width, height) < 1 || std::max(width, height) > kMaxSide)
    fail(std::string(name) + " is " + size_text(width, height) + ": 1 to 65535 pixels a side are accepted");
}

void check_stride(const char* name, int64_t stride, int64_t row) {
  if (stride < row)
    fail(std::string(name) + " is " + std::to_string(stride) + " bytes: a row has " + std::to_string(row));
}

// A box of a frame. The constructor throws Invalid for a frame or box out of range.
struct Source {
  Source(const gp_frame& frame, const gp_box* box) : frame_(frame) {
    int code;
    std::memcpy(&code, &frame.format, sizeof code);  // the caller may have stored any number
    if (code < GP_RGB || code > GP_YUYV)
      fail("frame format is " + std::to_string(code) +
           ": 0 (RGB), 1 (BGR), 2 (grey), 3 (NV12) and 4 (YUYV) are accepted");
    check_size("frame", frame.width, frame.height);
    if (!frame.data) fail("frame has no data: a pointer to its first row is needed");
    const bool nv12 = frame.format == GP_NV12, yuyv = frame.format == GP_YUYV;
    if ((nv12 || yuyv) && frame.width % 2)
      fail("frame is " + std::to_string(frame.width) +
           " pixels wide: two pixels share their chroma, so an even width is accepted");
    if (nv12 && frame.height % 2)
      fail("frame is " + std::to_string(frame.height) +
           " pixels high: two rows share their chroma, so an even height is accepted");
    bytes_ = yuyv ? 2 : frame.format == GP_RGB || frame.format == GP_BGR ? 3 : 1;
    check_stride("frame stride", frame.stride, frame.width * bytes_);
    if (nv12) {
      if (!frame.chroma) fail("frame has no chroma: NV12 needs a pointer to the first row of (U,V) pairs");
      check_stride("frame chroma stride", frame.chroma_stride, frame.width);
    }
    box_ = box ? *box : gp_box{0, 0, frame.width, frame.height};
    if (box_.x < 0 || box_.y < 0 || box_.width < 1 || box_.height < 1 || box_.x > frame.width - box_.width ||
        box_.y > frame.height - box_.height)
      fail("box is " + size_text(box_.width, box_.height) + " at (" + std::to_string(box_.x) + "," +
           std::to_string(box_.y) + "): at least 1×1 inside the frame of " + size_text(frame.width, frame.height) +
           " is accepted");
  }

  int64_t width() const { return box_.width; }
  int64_t height() const { return box_.height; }
  bool grey() const { return frame_.format == GP_GREY; }
  bool reversed() const { return frame_.format == GP_BGR; }
  bool converted() const { return frame_.format == GP_NV12 || frame_.format == GP_YUYV; }

  // Return the pixels of the box from (x,y) on, in the frame's format.
  const uint8_t* row(int64_t x, int64_t y) const {
    return frame_.data + (box_.y + y) * frame_.stride + (box_.x + x) * bytes_;
  }

  // Write `count` pixels from (x,y) on as RGB. Only for frames that are converted().
  void convert(int64_t x, int64_t y, int64_t count, uint8_t* rgb) const {
    const bool second = (box_.x + x) % 2;
    if (frame_.format == GP_YUYV) return kernels().yuyv_to_rgb(row(x, y) - 2 * second, second, count, rgb);
    const uint8_t* chroma = frame_.chroma + (box_.y + y) / 2 * frame_.chroma_stride + (box_.x + x - second);
    kernels().nv12_to_rgb(row(x, y), chroma, second, count, rgb);
  }

 private:
  gp_frame frame_;
  gp_box box_;
  int64_t bytes_;
};

// Write one row as RGB. The row is grey, or has three colours in the frame's order.
void write_rgb(const Source& source, const uint8_t* row, int64_t count, uint8_t* out) {
  if (source.grey()) {
    for (int64_t index = 0; index < count; ++index)
      out[3 * index] = out[3 * index + 1] = out[3 * index + 2] = row[index];
  } else if (source.reversed()) {
    for (int64_t index = 0; index < 3 * count; index += 3) {
      out[index] = row[index + 2];
      out[index + 1] = row[index + 1];
      out[index + 2] = row[index];
    }
  } else {
    std::memcpy(out, row, 3 * count);
  }
}

// ---- Resampling ----

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// Resamples some rows of the output. It moves over the frame from top to bottom: it resamples rows across, keeps them
// as long as a filter needs them, and resamples these down.
class Band {
 public:
  Band(const Source& source, const Axis& across, const Axis& down)
      : source_(source), across_(across), down_(down), kernels_(kernels()) {
    channels_ = source.grey() ? 1 : 3;
    rows_ = source.grey() ? kernels_.lanes : kernels_.lanes / 4;
    step_ = std::clamp<int64_t>(kColumns * across.out() / across.in(), 1, kColumns);
    int64_t widest = 0;
    for (int64_t begin = 0; begin < across.out(); begin += step_)
      widest = std::max(widest, across.end(std::min(begin + step_, across.out()) - 1) - across.begin(begin));
    widest += kAhead / kernels_.taps;
    plane_ = round_up(across.out() * channels_ + 1, kernels_.lanes);
    capacity_ = 2 * (down.most_groups() + rows_ / kernels_.taps);
    packed_ = Buffer<uint32_t>(widest * kernels_.lanes);
    planes_ = Buffer<uint32_t>(capacity_ * plane_);
    pointers_ = Buffer<const uint8_t*>(rows_);
    row_ = Buffer<uint8_t>(plane_);
    converted_row_ = widest * kernels_.taps * 3;
    if (source.converted()) converted_ = Buffer<uint8_t>(rows_ * converted_row_);
  }

  // Write rows [begin,end) of out.
  void run(int64_t begin, int64_t end, uint8_t* out) {
    const ResizeAxis filters = down_.filters();
    const int64_t height = rows_ / kernels_.taps, width = across_.out();
    int64_t base = down_.begin(begin) / height * height, filled = base;
    for (int64_t index = begin; index < end; ++index) {
      const int64_t first = down_.begin(index), last = down_.end(index);
      if (round_up(last, height) > base + capacity_) {
        const int64_t kept = std::min(first, filled);
        slide(planes_, kept - base, filled - base, plane_);
        base = kept;
      }
      for (; filled < last; filled += height)
        resample_across(filled * kernels_.taps, &planes_[(filled - base) * plane_]);
      kernels_.down(&planes_[(first - base) * plane_], plane_, filters.weights + index * filters.stride, last - first,
                    width * channels_, row_.data());
      write_rgb(source_, row_.data(), width, out + index * width * 3);
    }
  }

 private:
  static void slide(Buffer<uint32_t>& cells, int64_t from, int64_t to, int64_t size) {
    if (from > 0) std::memmove(cells.data(), cells.data() + from * size, (to - from) * size * sizeof(uint32_t));
  }

  // Resample rows_ rows of the frame from row `top` on. Rows below the frame repeat the last one; their weight is 0.
  void resample_across(int64_t top, uint32_t* planes) {
    const auto pack = source_.grey() ? kernels_.pack_grey : kernels_.pack_colour;
    const auto across = source_.grey() ? kernels_.across_grey : kernels_.across_colour;
    const int64_t all = round_up(across_.in(), kernels_.taps) / kernels_.taps;
    int64_t base = 0, filled = 0;
    for (int64_t begin = 0; begin < across_.out(); begin += step_) {
      const int64_t end = std::min(begin + step_, across_.out());
      const int64_t first = std::min(across_.begin(begin), filled), last = across_.end(end - 1);
      slide(packed_, first - base, filled - base, kernels_.lanes);
      base = first;
      if (last > filled) {
        const int64_t wanted = std::min(round_up(last, kAhead / kernels_.taps), all);
        const int64_t columns = point(filled * kernels_.taps, wanted * kernels_.taps, top);
        pack(pointers_.data(), columns, wanted - filled, &packed_[(filled - base) * kernels_.lanes]);
        filled = wanted;
      }
      across(packed_.data(), base, across_.filters(), begin, end, planes, plane_);
    }
  }

  // Set the pointers to column x of each row. Return how many columns may be read from there.
  int64_t point(int64_t x, int64_t end, int64_t top) {
    const int64_t whole = source_.width() - x, columns = source_.converted() ? std::min(whole, end - x) : whole;
    for (int64_t row = 0; row < rows_; ++row) {
      const int64_t y = std::min(top + row, source_.height() - 1);
      if (!source_.converted()) {
        pointers_[row] = source_.row(x, y);
      } else if (top + row > y) {
        pointers_[row] = pointers_[row - 1];
      } else {
        uint8_t* rgb = &converted_[row * converted_row_];
        source_.convert(x, y, columns, rgb);
        pointers_[row] = rgb;
      }
    }
    return columns;
  }

  const Source& source_;
  const Axis& across_;
  const Axis& down_;
  const ResizeKernels& kernels_;
  int64_t channels_, rows_, step_, plane_, capacity_, converted_row_;
  Buffer<uint32_t> packed_, planes_;
  Buffer<const uint8_t*> pointers_;
  Buffer<uint8_t> row_, converted_;
};

void copy(const Source& source, uint8_t* out) {
  const int64_t width = source.width();
  for (int64_t y = 0; y < source.height(); ++y, out += 3 * width) {
    if (source.converted())
      source.convert(0, y, width, out);
    else
      write_rgb(source, source.row(0, y), width, out);
  }
}

}  // namespace

void check_resize(const gp_frame& frame, const gp_box* box, int64_t out_width, int64_t out_height, int threads) {
  const Source source(frame, box);
  check_size("out", out_width, out_height);
  if (threads < 0) fail("threads is " + std::to_string(threads) + ": 0 (all processors) or more is accepted");
}

void resize(const gp_frame& frame, const gp_box* box, uint8_t* out, int64_t out_width, int64_t out_height,
            int threads) {
  check_resize(frame, box, out_width, out_height, threads);
  if (!out) fail("out is null: a pointer to height·width·3 bytes is needed");
  const Source source(frame, box);
  if (source.width() == out_width && source.height() == out_height) return copy(source, out);

  const auto across = axis(source.width(), out_width), down = axis(source.height(), out_height);
  const bool alone = source.width() * source.height() + out_width * out_height < kWorthSharing;
  threads = alone ? 1 : thread_count(threads);
  // Two parts for each thread: if one thread is delayed, others take over its second part.
  const int64_t parts = threads == 1 ? 1 : std::clamp<int64_t>(out_height / kFewestRows, 1, 2 * threads);
  threads = static_cast<int>(std::min<int64_t>(threads, parts));
  std::vector<std::unique_ptr<Band>> bands;
  bands.reserve(static_cast<size_t>(threads));
  for (int worker = 0; worker < threads; ++worker) bands.push_back(std::make_unique<Band>(source, *across, *down));
  parallel_for(parts, threads, [&](int64_t part, int worker) {
    bands[worker]->run(out_height * part / parts, out_height * (part + 1) / parts, out);
  });
}

}  // namespace gp
