#include "score.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <utility>
#include <vector>

#include "bind.h"
#include "failure.h"

namespace {

namespace nb = nanobind;
using namespace nb::literals;

// A scorer and the banks that it refers to, which must live as long as it does.
struct PyScorer {
  gp::Scorer scorer;
  std::vector<nb::object> banks;
  std::vector<int64_t> widths;
  int64_t width, height, columns;
};

// Return the product that the arguments of the constructor describe; it refers to their memory.
gp_product describe(const gp::Array& image_prompts, const gp::Array& pixel_prompts,
                    const std::vector<nb::object>& banks, float temperature, std::pair<int64_t, int64_t> grid,
                    bool maximum_of_map, const std::string& fusion, const std::vector<gp::Array>& margins,
                    float residual_weight) {
  gp::require(image_prompts.ndim() == 2, "image_prompts is " + gp::shape_of(image_prompts) + ": [2,width] is accepted");
  gp::require(!banks.empty() && banks.size() <= GP_MAX_BANKS,
              std::to_string(banks.size()) + " banks: from 1 to " + std::to_string(GP_MAX_BANKS) + " are accepted");
  gp_product product{};
  product.width = static_cast<int64_t>(image_prompts.shape(1));
  product.grid_height = grid.first;
  product.grid_width = grid.second;
  product.image_prompts = gp::floats(image_prompts, "image_prompts", {2, product.width});
  product.pixel_prompts = gp::floats(pixel_prompts, "pixel_prompts", {2, product.width});
  product.temperature = temperature;
  for (const nb::object& bank : banks) product.banks[product.bank_count++] = &nb::cast<const gp_bank&>(bank);
  product.maximum_of_map = maximum_of_map;
  product.fusion = gp::fusion_named(fusion);
  gp::require(margins.empty() || margins.size() == banks.size(),
              std::to_string(margins.size()) + " arrays of margins: none, or " + std::to_string(banks.size()) +
                  ", one per bank, are accepted");
  for (size_t bank = 0; bank < margins.size(); ++bank)
    product.margins[bank] = gp::floats(margins[bank], "margins", {product.banks[bank]->bank.rows()});
  product.residual_weight = residual_weight;
  return product;
}

using Out = nb::ndarray<nb::numpy, float>;

std::tuple<Out, Out, Out, Out, Out, Out, Out> run(const PyScorer& self, const gp::Array& global, const gp::Array& local,
                                                  const std::vector<gp::Array>& memory, int threads) {
  const int64_t patches = self.height * self.columns;
  gp_features features{};
  features.global = gp::floats(global, "global", {-1, self.width});
  features.views = static_cast<int64_t>(global.shape(0));
  features.local = gp::floats(local, "local", {features.views, patches, self.width});
  gp::require(memory.size() == self.widths.size(), std::to_string(memory.size()) +
                                                       " memory arrays: " + std::to_string(self.widths.size()) +
                                                       ", one per bank, are accepted");
  for (size_t bank = 0; bank < memory.size(); ++bank)
    features.memory[bank] = gp::floats(memory[bank], "memory", {features.views, patches, self.widths[bank]});

  const std::vector<size_t> views = {static_cast<size_t>(features.views)};
  const std::vector<size_t> grids = {views[0], static_cast<size_t>(self.height), static_cast<size_t>(self.columns)};
  gp::Made<float> image(views), grid(grids), image_prompt(views), image_memory(views), grid_prompt(grids),
      grid_memory(grids), grid_residual(grids);
  {
    nb::gil_scoped_release release;
    self.scorer.run(features,
                    {image.data, grid.data, image_prompt.data, image_memory.data, grid_prompt.data, grid_memory.data,
                     grid_residual.data},
                    threads);
  }
  return {image.array,       grid.array,        image_prompt.array, image_memory.array,
          grid_prompt.array, grid_memory.array, grid_residual.array};
}

}  // namespace

void bind_score(nb::module_& m) {
  nb::class_<PyScorer>(m, "Scorer",
                       "Scores the views of one product, as goodparts.runtime.core.scoring.score does.\n\n"
                       "Several threads may call run at once.")
      .def(
          "__init__",
          [](PyScorer* self, const gp::Array& image_prompts, const gp::Array& pixel_prompts,
             std::vector<nb::object> banks, float temperature, std::pair<int64_t, int64_t> grid, bool maximum_of_map,
             const std::string& fusion, const std::vector<gp::Array>& margins, float residual_weight) {
            const gp_product product = describe(image_prompts, pixel_prompts, banks, temperature, grid, maximum_of_map,
                                                fusion, margins, residual_weight);
            std::vector<int64_t> widths;
            for (int bank = 0; bank < product.bank_count; ++bank) widths.push_back(product.banks[bank]->bank.width());
            new (self) PyScorer{gp::Scorer(product), std::move(banks), std::move(widths),
                                product.width,       grid.first,       grid.second};
          },
          "image_prompts"_a, "pixel_prompts"_a, "banks"_a, "temperature"_a, "grid"_a, "maximum_of_map"_a = false,
          "fusion"_a = "paper", "margins"_a = std::vector<gp::Array>{}, "residual_weight"_a = 0.0f,
          nb::sig("def __init__(self, image_prompts: numpy.typing.NDArray[numpy.float32], "
                  "pixel_prompts: numpy.typing.NDArray[numpy.float32], banks: collections.abc.Sequence[Bank], "
                  "temperature: float, grid: tuple[int, int], maximum_of_map: bool = False, "
                  "fusion: str = \"paper\", "
                  "margins: collections.abc.Sequence[numpy.typing.NDArray[numpy.float32]] = (), "
                  "residual_weight: float = 0.0) -> None"),
          "Create a scorer. It copies the prompts and the margins and refers to the banks.\n\n"
          "Args:\n"
          "    image_prompts: [2,width], float32: the normal, then the anomalous prototype, for the whole image.\n"
          "    pixel_prompts: [2,width], float32: the same for patches.\n"
          "    banks: The memory, from 1 to 8 banks.\n"
          "    temperature: Factor of the cosine margin in the prompt score.\n"
          "    grid: (height, width) of a view in patches.\n"
          "    maximum_of_map: Take the memory's image score from the un-smoothed 400×400 map instead of the grid.\n"
          "    fusion: paper, residual, prompt or memory; see goodparts.runtime.core.scoring.Fusion.\n"
          "    margins: For each bank [rows], float32: the margin of the pixel prompts for each row. The fusion\n"
          "        residual needs them. A bank with margins must not grow afterwards.\n"
          "    residual_weight: Factor of the residual margin; 0 or more.\n\n"
          "Raises:\n"
          "    TypeError: An array is not float32 or not in the CPU's memory.\n"
          "    ValueError: An argument is out of range, or an array has another shape or gaps.")
      .def("run", &run, "global_"_a, "local"_a, "memory"_a, "threads"_a = 0,
           "Score B views of h·w = P patches.\n\n"
           "Args:\n"
           "    global_: [B,width], float32: one feature vector of length 1 per view.\n"
           "    local: [B,P,width], float32: one per patch and view.\n"
           "    memory: For each bank [B,P,width of the bank], float32.\n"
           "    threads: The most threads to use; 0 for one per processor.\n\n"
           "Returns:\n"
           "    New float32 arrays: image [B], grid [B,h,w], image_prompt [B], image_memory [B],\n"
           "    grid_prompt [B,h,w], grid_memory [B,h,w] and grid_residual [B,h,w], which are explained at\n"
           "    goodparts.runtime.core.scoring.Branches.\n\n"
           "Raises:\n"
           "    TypeError: An array is not float32 or not in the CPU's memory.\n"
           "    ValueError: An array has another shape or gaps, or a bank is empty or has grown beyond its margins.");
  m.def(
      "anomaly_map",
      [](const gp::Array& grid, int64_t size, float sigma) {
        const float* data = gp::floats(grid, "grid", {-1, -1});
        gp::require(size >= 1 && size <= 16384, "size " + std::to_string(size) + ": from 1 to 16384 is accepted");
        gp::Made<float> out({static_cast<size_t>(size), static_cast<size_t>(size)});
        nb::gil_scoped_release release;
        gp::anomaly_map(data, static_cast<int64_t>(grid.shape(0)), static_cast<int64_t>(grid.shape(1)), out.data, size,
                        sigma);
        return out.array;
      },
      "grid"_a, "size"_a = 400, "sigma"_a = 4.0f,
      "Turn the patch scores of one view into an anomaly map: bilinear interpolation, then a Gaussian filter.\n\n"
      "Args:\n"
      "    grid: [h,w], float32, finite.\n"
      "    size: Side of the map in pixels, from 1 to 16384.\n"
      "    sigma: Standard deviation of the Gaussian in pixels of the map, from 0 to 1000.\n\n"
      "Returns:\n"
      "    A new array [size,size], float32.\n\n"
      "Raises:\n"
      "    TypeError: The grid is not float32 or not in the CPU's memory.\n"
      "    ValueError: An argument is out of range, or the grid has gaps.");
}
