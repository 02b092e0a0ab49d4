// goodparts._native.cuda: the device code, for arrays in the GPU's memory (of torch, cupy and other libraries).
#include "../cuda/cuda.h"

#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <atomic>
#include <optional>

#include "bind.h"
#include "device_array.h"
#include "failure.h"

namespace {

namespace nb = nanobind;
using namespace nb::literals;
using gp::DeviceArray;
using Out = gp::DeviceOut;

void* stream_of(intptr_t handle) { return reinterpret_cast<void*>(handle); }

// Throw unless a GPU can be used.
void need_device() {
  static std::atomic<bool> known{false};
  if (known) return;
  std::string why_not;
  if (!gp::cuda::built()) gp::cuda::current_device();  // throws
  if (!gp::cuda::available(&why_not)) throw gp::cuda::Failure("no GPU can be used: " + why_not);
  known = true;
}

gp::cuda::Precision precision_named(const std::string& name) {
  if (name == "fp16") return gp::cuda::Precision::fp16;
  if (name == "bf16") return gp::cuda::Precision::bf16;
  gp::require(name == "int8", "precision '" + name + "': fp16, bf16 and int8 are accepted");
  return gp::cuda::Precision::int8;
}

const char* name_of(gp::cuda::Precision precision) {
  return precision == gp::cuda::Precision::fp16 ? "fp16" : precision == gp::cuda::Precision::bf16 ? "bf16" : "int8";
}

// Return the array that the caller gave, after a check of its shape, or else a new one.
template <class T>
Out result(const std::optional<nb::object>& given, const char* name, const std::vector<int64_t>& shape, int device) {
  if (given) return gp::written_to(gp::device_array(*given, name).check(name, {nb::dtype<T>()}, shape, device), *given);
  return gp::made<T>(shape, device);
}

// ---- Search --------------------------------------------------------------------------------------------------------

struct PyDeviceSearch {
  gp::cuda::Search search;
  std::vector<nb::object> banks;
  std::vector<const gp::cuda::Bank*> pointers;
  int64_t max_queries;
};

std::vector<const gp::cuda::Bank*> banks_of(const std::vector<nb::object>& banks) {
  std::vector<const gp::cuda::Bank*> pointers;
  for (const nb::object& bank : banks) {
    if (!nb::isinstance<gp::cuda::Bank>(bank))
      throw nb::type_error(
          ("a bank is " + std::string(nb::inst_name(bank).c_str()) + ": cuda.Bank is accepted").c_str());
    pointers.push_back(nb::inst_ptr<gp::cuda::Bank>(bank));
  }
  return pointers;
}

using Found = std::pair<nb::object, nb::object>;

std::vector<Found> search(const PyDeviceSearch& self, const std::vector<nb::object>& queries,
                          const std::optional<std::vector<std::pair<nb::object, nb::object>>>& out, intptr_t stream) {
  gp::require(queries.size() == self.pointers.size(),
              std::to_string(queries.size()) + " arrays of queries: " + std::to_string(self.pointers.size()) +
                  ", one per bank, are accepted");
  gp::require(!out || out->size() == queries.size(), "out does not hold one pair of arrays per bank");
  std::vector<DeviceArray> arrays;
  std::vector<const void*> data;
  std::vector<float*> product;
  std::vector<int64_t*> index;
  std::vector<Found> found;
  int64_t count = -1;
  gp::cuda::Type type{};
  for (size_t bank = 0; bank < queries.size(); ++bank) {
    DeviceArray array = gp::device_array(queries[bank], "queries");
    array.check("queries", gp::feature_types(), {count, self.pointers[bank]->width()}, self.pointers[bank]->device());
    if (bank == 0) count = array.shape[0], type = gp::feature_type(array);
    gp::require(gp::feature_type(array) == type, "queries are of several dtypes: one for all banks is accepted");
    data.push_back(array.data);
    arrays.push_back(std::move(array));
    const int device = self.pointers[bank]->device();
    const auto given = [&](bool second) -> std::optional<nb::object> {
      if (!out) return std::nullopt;
      return second ? (*out)[bank].second : (*out)[bank].first;
    };
    const Out products = result<float>(given(false), "product", {count}, device);
    const Out indices = result<int64_t>(given(true), "index", {count}, device);
    product.push_back(static_cast<float*>(products.data));
    index.push_back(static_cast<int64_t*>(indices.data));
    found.emplace_back(products.array, indices.array);
  }
  self.search.run(data, type, count, product, index, stream_of(stream));
  return found;
}

void append(gp::cuda::Bank& self, const nb::object& rows, intptr_t stream) {
  const DeviceArray array = gp::device_array(rows, "rows", true);
  array.check("rows", gp::feature_types(), {-1, self.width()}, array.on_device ? self.device() : -1);
  nb::gil_scoped_release release;
  self.append(array.data, gp::feature_type(array), array.shape[0], array.on_device, stream_of(stream));
}

void bind_device_search(nb::module_& m) {
  nb::class_<gp::cuda::Bank>(m, "Bank",
                             "Rows in the GPU's memory to search for the largest inner product with a query.\n\n"
                             "A bank belongs to the device that is current when it is created.")
      .def(
          "__init__",
          [](gp::cuda::Bank* self, int64_t width, const std::string& precision) {
            need_device();
            new (self) gp::cuda::Bank(width, precision_named(precision));
          },
          "width"_a, "precision"_a = "fp16",
          "Create an empty bank.\n\n"
          "Args:\n"
          "    width: Components of a row, from 1 to 65536.\n"
          "    precision: fp16, bf16 (from compute capability 8.0), or int8 with a scale for each row.\n\n"
          "Raises:\n"
          "    RuntimeError: No GPU can be used.\n"
          "    ValueError: An argument is out of range, or the module was built without CUDA.")
      .def("append", &append, "rows"_a, "stream"_a = 0,
           "Append rows, which are copied, and wait for the stream.\n\n"
           "Captured graphs search the new rows too. No search may be in progress meanwhile.\n\n"
           "Args:\n"
           "    rows: [n,width], float32, float16 or bfloat16, finite, in the memory of the device or of the CPU.\n"
           "    stream: A cudaStream_t as an integer; 0 for the default stream.\n\n"
           "Raises:\n"
           "    TypeError: The array has another dtype.\n"
           "    ValueError: The array has another shape, gaps or another device, or a value is not finite.")
      .def_prop_ro("rows", &gp::cuda::Bank::rows, "The number of rows.")
      .def_prop_ro("width", &gp::cuda::Bank::width, "The number of components of a row.")
      .def_prop_ro(
          "precision", [](const gp::cuda::Bank& self) { return name_of(self.precision()); },
          "How rows are stored: fp16, bf16 or int8.")
      .def_prop_ro("nbytes", &gp::cuda::Bank::bytes, "The bytes of device memory that the rows occupy.");

  nb::class_<PyDeviceSearch>(m, "Search", "Searches several banks of one device and precision in one launch.")
      .def(
          "__init__",
          [](PyDeviceSearch* self, const std::vector<nb::object>& banks, int64_t max_queries) {
            auto pointers = banks_of(banks);
            new (self) PyDeviceSearch{gp::cuda::Search(pointers, max_queries), banks, pointers, max_queries};
          },
          "banks"_a, "max_queries"_a,
          "Create a search and allocate its memory.\n\n"
          "Args:\n"
          "    banks: From 1 to 8 banks.\n"
          "    max_queries: The most queries of one call, for each bank.\n\n"
          "Raises:\n"
          "    TypeError: A bank is not a cuda.Bank.\n"
          "    ValueError: An argument is out of range, or the banks differ in device or precision.")
      .def("run", &search, "queries"_a, "out"_a = nb::none(), "stream"_a = 0,
           "Find for each query the row with the largest inner product.\n\n"
           "The call enqueues kernels and does not wait for them. Calls of one Search must be ordered on the device:\n"
           "on one stream, or by events.\n\n"
           "Args:\n"
           "    queries: For each bank [n,width] on the device, all float32, float16 or bfloat16.\n"
           "    out: For each bank a pair of arrays to write to, as returned. It is needed while a graph is captured.\n"
           "    stream: A cudaStream_t as an integer; 0 for the default stream.\n\n"
           "Returns:\n"
           "    For each bank the largest product of each query, [n], float32, and the number of its row, [n], int64,\n"
           "    which is the first of equal ones. A query with a value that is not finite gets NaN and -1.\n\n"
           "Raises:\n"
           "    TypeError: An array has another dtype or is not on a GPU.\n"
           "    ValueError: An array has another shape, gaps or another device, or a bank is empty.");
}

// ---- Scoring -------------------------------------------------------------------------------------------------------

constexpr size_t kOutputs = 7;  // number of arrays in gp_scores

struct PyDeviceScorer {
  gp::cuda::Scorer scorer;
  std::vector<nb::object> banks;
  std::vector<const gp::cuda::Bank*> pointers;
  int64_t width, height, columns;
};

std::vector<nb::object> score(const PyDeviceScorer& self, const nb::object& global, const nb::object& local,
                              const std::vector<nb::object>& memory, const std::optional<std::vector<nb::object>>& out,
                              intptr_t stream) {
  const int device = self.pointers[0]->device();
  const int64_t patches = self.height * self.columns;
  gp::require(memory.size() == self.pointers.size(), std::to_string(memory.size()) +
                                                         " memory arrays: " + std::to_string(self.pointers.size()) +
                                                         ", one per bank, are accepted");
  gp::require(!out || out->size() == kOutputs, "out holds " + std::to_string(out ? out->size() : 0) +
                                                   " arrays: " + std::to_string(kOutputs) + " are accepted");
  std::vector<DeviceArray> arrays;
  gp::cuda::Features features{};
  const auto take = [&](const nb::object& object, const char* name, const std::vector<int64_t>& shape) {
    arrays.push_back(gp::device_array(object, name));
    arrays.back().check(name, gp::feature_types(), shape, device);
    if (arrays.size() == 1) features.type = gp::feature_type(arrays.back());
    gp::require(gp::feature_type(arrays.back()) == features.type,
                "the features are of several dtypes: one is accepted");
    return static_cast<const void*>(arrays.back().data);
  };
  features.global = take(global, "global", {-1, self.width});
  features.views = arrays[0].shape[0];
  features.local = take(local, "local", {features.views, patches, self.width});
  for (size_t bank = 0; bank < memory.size(); ++bank)
    features.memory.push_back(take(memory[bank], "memory", {features.views, patches, self.pointers[bank]->width()}));

  const std::vector<int64_t> views = {features.views}, grids = {features.views, self.height, self.columns};
  const char* names[] = {"image",       "grid",        "image_prompt", "image_memory",
                         "grid_prompt", "grid_memory", "grid_residual"};
  const bool is_grid[] = {false, true, false, false, true, true, true};
  std::vector<nb::object> results;
  float* data[kOutputs];
  for (size_t at = 0; at < kOutputs; ++at) {
    const std::optional<nb::object> given = out ? std::optional((*out)[at]) : std::nullopt;
    const Out made = result<float>(given, names[at], is_grid[at] ? grids : views, device);
    data[at] = static_cast<float*>(made.data);
    results.push_back(made.array);
  }
  self.scorer.run(features, {data[0], data[1], data[2], data[3], data[4], data[5], data[6]}, stream_of(stream));
  return results;
}

void bind_device_score(nb::module_& m) {
  nb::class_<PyDeviceScorer>(
      m, "Scorer", "Scores the views of one product on the device, as goodparts.runtime.core.scoring.score does.")
      .def(
          "__init__",
          [](PyDeviceScorer* self, const gp::Array& image_prompts, const gp::Array& pixel_prompts,
             const std::vector<nb::object>& banks, float temperature, std::pair<int64_t, int64_t> grid,
             bool maximum_of_map, const std::string& fusion, const std::vector<gp::Array>& margins,
             float residual_weight, int64_t max_views) {
            need_device();
            gp::require(image_prompts.ndim() == 2,
                        "image_prompts is " + gp::shape_of(image_prompts) + ": [2,width] is accepted");
            gp::cuda::Product product{};
            product.width = static_cast<int64_t>(image_prompts.shape(1));
            product.grid_height = grid.first;
            product.grid_width = grid.second;
            product.image_prompts = gp::floats(image_prompts, "image_prompts", {2, product.width});
            product.pixel_prompts = gp::floats(pixel_prompts, "pixel_prompts", {2, product.width});
            product.temperature = temperature;
            product.banks = banks_of(banks);
            product.maximum_of_map = maximum_of_map;
            product.fusion = gp::fusion_named(fusion);
            gp::require(margins.empty() || margins.size() == banks.size(),
                        std::to_string(margins.size()) + " arrays of margins: none, or " +
                            std::to_string(banks.size()) + ", one per bank, are accepted");
            for (size_t bank = 0; bank < margins.size(); ++bank)
              product.margins.push_back(gp::floats(margins[bank], "margins", {product.banks[bank]->rows()}));
            product.residual_weight = residual_weight;
            new (self) PyDeviceScorer{
                gp::cuda::Scorer(product, max_views), banks, product.banks, product.width, grid.first, grid.second};
          },
          "image_prompts"_a, "pixel_prompts"_a, "banks"_a, "temperature"_a, "grid"_a, "maximum_of_map"_a = false,
          "fusion"_a = "paper", "margins"_a = std::vector<gp::Array>{}, "residual_weight"_a = 0.0f, "max_views"_a = 1,
          nb::sig("def __init__(self, image_prompts: numpy.typing.NDArray[numpy.float32], "
                  "pixel_prompts: numpy.typing.NDArray[numpy.float32], banks: collections.abc.Sequence[Bank], "
                  "temperature: float, grid: tuple[int, int], maximum_of_map: bool = False, "
                  "fusion: str = \"paper\", "
                  "margins: collections.abc.Sequence[numpy.typing.NDArray[numpy.float32]] = (), "
                  "residual_weight: float = 0.0, max_views: int = 1) -> None"),
          "Create a scorer and allocate its memory.\n\n"
          "The arguments are those of goodparts._native.Scorer. The banks are cuda.Banks; the prompts and the margins\n"
          "are in the CPU's memory and are copied. max_views is the most views of one call.\n\n"
          "Raises:\n"
          "    RuntimeError: No GPU can be used.\n"
          "    TypeError: An array is not float32 or not in the CPU's memory, or a bank is not a cuda.Bank.\n"
          "    ValueError: An argument is out of range, or the module was built without CUDA.")
      .def("run", &score, "global_"_a, "local"_a, "memory"_a, "out"_a = nb::none(), "stream"_a = 0,
           "Score B views of h·w = P patches.\n\n"
           "The call enqueues kernels and does not wait for them. Calls of one Scorer must be ordered on the device:\n"
           "on one stream, or by events. All features are of one dtype: float32, float16 or bfloat16.\n\n"
           "Args:\n"
           "    global_: [B,width] on the device.\n"
           "    local: [B,P,width] on the device.\n"
           "    memory: For each bank [B,P,width of the bank] on the device.\n"
           "    out: The seven arrays to write to, as returned. It is needed while a graph is captured.\n"
           "    stream: A cudaStream_t as an integer; 0 for the default stream.\n\n"
           "Returns:\n"
           "    The arrays that goodparts._native.Scorer.run returns, on the device.\n\n"
           "Raises:\n"
           "    TypeError: An array has another dtype or is not on a GPU.\n"
           "    ValueError: An array has another shape, gaps or another device, or a bank with margins has grown.");
}

// ---- Resize --------------------------------------------------------------------------------------------------------

struct Format {
  const char* name;
  gp_format format;
  int64_t samples;  // per pixel, the length of the last axis; 0 if there is no such axis
};

constexpr Format kFormats[] = {
    {"rgb", GP_RGB, 3}, {"bgr", GP_BGR, 3}, {"grey", GP_GREY, 0}, {"yuyv", GP_YUYV, 2}, {"nv12", GP_NV12, 0}};

const Format& format_named(const std::string& name) {
  for (const Format& format : kFormats)
    if (name == format.name) return format;
  throw gp::Invalid("format is '" + name + "': rgb, bgr, grey, yuyv and nv12 are accepted");
}

nb::object resize(const nb::object& frame, std::pair<int64_t, int64_t> size,
                  const std::optional<std::array<int64_t, 4>>& box, const std::string& format_name,
                  const std::optional<nb::object>& out, intptr_t stream) {
  need_device();
  const Format& format = format_named(format_name);
  const DeviceArray array = gp::device_array(frame, "frame");
  const bool nv12 = format.format == GP_NV12;
  std::vector<int64_t> shape = {-1, -1};
  if (format.samples) shape.push_back(format.samples);
  const int device = gp::cuda::device_of(array.data);
  array.check("frame", {nb::dtype<uint8_t>()}, shape, device, true);
  gp::require(!nv12 || array.shape[0] % 3 == 0,
              "frame has " + std::to_string(array.shape[0]) + " rows: nv12 has three rows for every two of the image");
  const int64_t height = nv12 ? array.shape[0] / 3 * 2 : array.shape[0], width = array.shape[1];
  const int64_t stride = array.shape[0] > 1 ? array.strides[0] : width * std::max<int64_t>(format.samples, 1);
  const Out made = result<uint8_t>(out, "out", {size.first, size.second, 3}, device);
  const auto* data = static_cast<const uint8_t*>(array.data);
  const gp_frame pixels{data, nv12 ? data + height * stride : nullptr, width, height, stride, stride, format.format};
  const gp_box part = box ? gp_box{(*box)[0], (*box)[1], (*box)[2], (*box)[3]} : gp_box{0, 0, width, height};
  gp::cuda::resize(pixels, &part, size.second, size.first, made.data, device, stream_of(stream));
  return made.array;
}

}  // namespace

void bind_cuda(nb::module_& m) {
  nb::module_ cuda = m.def_submodule("cuda", "Search, scoring and resizing on an NVIDIA GPU.");
  cuda.def("built", &gp::cuda::built, "Return whether this module was built with CUDA.");
  cuda.def(
      "available", [] { return gp::cuda::available(); },
      "Return whether this module was built with CUDA and a GPU can be used.");
  cuda.def(
      "why_not",
      [] {
        std::string why;
        gp::cuda::available(&why);
        return why;
      },
      "Return why no GPU can be used; an empty text if one can.");
  cuda.def(
      "device_name",
      [] {
        need_device();
        return gp::cuda::device_name();
      },
      "Return the name of the current device.");
  bind_device_search(cuda);
  bind_device_score(cuda);
  cuda.def(
      "resize", &resize, "frame"_a, "size"_a, "box"_a = nb::none(), "format"_a = "rgb", "out"_a = nb::none(),
      "stream"_a = 0,
      "Crop a box out of a frame on the device and resample it to an RGB image.\n\n"
      "The result equals that of goodparts._native.resize. The call enqueues a kernel and does not wait for it.\n\n"
      "Args:\n"
      "    frame: uint8 on the device, of the shapes that goodparts._native.resize accepts. There may be gaps between\n"
      "        its rows.\n"
      "    size: (height, width) of the result in pixels.\n"
      "    box: (x, y, width, height) of the part to crop, in pixels of the frame; None takes the whole frame.\n"
      "    format: rgb, bgr, grey, yuyv or nv12.\n"
      "    out: [height,width,3], uint8, on the device, to write to. It is needed while a graph is captured, and a\n"
      "        call with the same sizes must have run before the capture.\n"
      "    stream: A cudaStream_t as an integer; 0 for the default stream.\n\n"
      "Returns:\n"
      "    The array [height,width,3], uint8, RGB, on the device.\n\n"
      "Raises:\n"
      "    RuntimeError: No GPU can be used.\n"
      "    TypeError: An array is not uint8 or not on a GPU.\n"
      "    ValueError: An argument is out of range, or the module was built without CUDA.");
}
