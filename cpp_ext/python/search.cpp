#include "search.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include "bind.h"
#include "failure.h"

namespace {

namespace nb = nanobind;
using namespace nb::literals;

gp_precision precision_named(const std::string& name) {
  if (name == "fp32") return GP_FP32;
  if (name == "bf16") return GP_BF16;
  gp::require(name == "int8", "precision '" + name + "': fp32, bf16 and int8 are accepted");
  return GP_INT8;
}

const char* name_of(gp_precision precision) {
  return precision == GP_FP32 ? "fp32" : precision == GP_BF16 ? "bf16" : "int8";
}

}  // namespace

void bind_search(nb::module_& m) {
  nb::class_<gp_bank>(m, "Bank", "Rows to search for the largest inner product with a query.")
      .def(
          "__init__",
          [](gp_bank* self, int64_t width, const std::string& precision) {
            new (self) gp_bank{gp::Bank(width, precision_named(precision))};
          },
          "width"_a, "precision"_a = "fp32")
      .def(
          "append",
          [](gp_bank& self, const gp::Array& rows) {
            const float* data = gp::floats(rows, "rows", {-1, self.bank.width()});
            nb::gil_scoped_release release;
            self.bank.append(data, static_cast<int64_t>(rows.shape(0)));
          },
          "rows"_a, "Remember more rows, float32 [n,width], finite.")
      .def(
          "search",
          [](const gp_bank& self, const gp::Array& queries, int threads) {
            const float* data = gp::floats(queries, "queries", {-1, self.bank.width()});
            gp::Made<float> product({queries.shape(0)});
            gp::Made<int64_t> index({queries.shape(0)});
            {
              nb::gil_scoped_release release;
              self.bank.search(data, static_cast<int64_t>(queries.shape(0)), product.data, index.data, threads);
            }
            return std::make_pair(product.array, index.array);
          },
          "queries"_a, "threads"_a = 0,
          "The largest product of each query, float32 [n,width], with any row, and that row: float32 [n], int64 "
          "[n].\n\n"
          "The first of equal rows; NaN and -1 for a query that is not finite.")
      .def(
          "partition",
          [](gp_bank& self, const gp::Array& queries, float recall, int threads) {
            const float* data = gp::floats(queries, "queries", {-1, self.bank.width()});
            nb::gil_scoped_release release;
            return self.bank.partition(data, static_cast<int64_t>(queries.shape(0)), recall, threads);
          },
          "queries"_a, "recall"_a, "threads"_a = 0,
          "Make later searches of a large bank faster and no longer exact: only as many cells of rows are looked into "
          "as give the share `recall` of these queries, float32 [n,width], their best row.\n\n"
          "Returns the share measured; 1.0 where the bank is searched as a whole, because it has few rows or because a "
          "search would look into more than half of the cells. Give queries such as will come.")
      .def(
          "error_bound", [](const gp_bank& self, float peak) { return self.bank.error_bound(peak); }, "peak"_a,
          "How far a product of unit vectors may be off, for queries of which no component is larger than peak.")
      .def_prop_ro("rows", [](const gp_bank& self) { return self.bank.rows(); })
      .def_prop_ro("width", [](const gp_bank& self) { return self.bank.width(); })
      .def_prop_ro("precision", [](const gp_bank& self) { return name_of(self.bank.precision()); })
      .def_prop_ro("nbytes", [](const gp_bank& self) { return self.bank.bytes(); });
}
