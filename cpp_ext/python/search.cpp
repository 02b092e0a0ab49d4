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
  nb::class_<gp_bank>(m, "Bank",
                      "Rows to search for the largest inner product with a query.\n\n"
                      "Several threads may call search at once. While one thread calls append or partition,\n"
                      "no other thread may use the bank.")
      .def(
          "__init__",
          [](gp_bank* self, int64_t width, const std::string& precision) {
            new (self) gp_bank{gp::Bank(width, precision_named(precision))};
          },
          "width"_a, "precision"_a = "fp32",
          "Create an empty bank.\n\n"
          "Args:\n"
          "    width: Components of a row, from 1 to 65536.\n"
          "    precision: How rows are stored: fp32 (exact), bf16, or int8 with a scale for each row.\n\n"
          "Raises:\n"
          "    ValueError: An argument is out of range.")
      .def(
          "append",
          [](gp_bank& self, const gp::Array& rows) {
            const float* data = gp::floats(rows, "rows", {-1, self.bank.width()});
            nb::gil_scoped_release release;
            self.bank.append(data, static_cast<int64_t>(rows.shape(0)));
          },
          "rows"_a,
          "Append rows, which are copied.\n\n"
          "Args:\n"
          "    rows: [n,width], float32, finite.\n\n"
          "Raises:\n"
          "    TypeError: The array is not float32 or not in the CPU's memory.\n"
          "    ValueError: The array has another shape or gaps, or a value is not finite.")
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
          "Find for each query the row with the largest inner product.\n\n"
          "Args:\n"
          "    queries: [n,width], float32.\n"
          "    threads: The most threads to use; 0 for one per processor.\n\n"
          "Returns:\n"
          "    The largest product of each query, [n], float32, and the number of its row, [n], int64, which is the\n"
          "    first of equal ones. A query with a value that is not finite gets NaN and -1.\n\n"
          "Raises:\n"
          "    TypeError: The array is not float32 or not in the CPU's memory.\n"
          "    ValueError: The array has another shape or gaps, or the bank is empty.")
      .def(
          "partition",
          [](gp_bank& self, const gp::Array& queries, float recall, int threads) {
            const float* data = gp::floats(queries, "queries", {-1, self.bank.width()});
            nb::gil_scoped_release release;
            return self.bank.partition(data, static_cast<int64_t>(queries.shape(0)), recall, threads);
          },
          "queries"_a, "recall"_a, "threads"_a = 0,
          "Divide a large bank into cells of neighbouring rows: later searches are faster and no longer exact.\n\n"
          "A later search compares a query only with the rows of the cells nearest to it. The number of cells is\n"
          "the smallest with which the share `recall` of the given queries finds the same row as an exact search.\n"
          "The bank stays whole if recall is 1, if it has fewer than 4096 rows, or if a search would need more than\n"
          "half of the cells. A bank can be divided only once.\n\n"
          "Args:\n"
          "    queries: [n,width], float32, finite, at least one: a sample of the queries of later searches.\n"
          "    recall: Above 0, up to 1.\n"
          "    threads: The most threads to use; 0 for one per processor.\n\n"
          "Returns:\n"
          "    The share of the queries that find their row, as measured; 1.0 if the bank stays whole.\n\n"
          "Raises:\n"
          "    TypeError: The array is not float32 or not in the CPU's memory.\n"
          "    ValueError: An argument is out of range, or the bank is already divided.")
      .def(
          "error_bound", [](const gp_bank& self, float peak) { return self.bank.error_bound(peak); }, "peak"_a,
          "Return an upper bound on the absolute error of a product, for rows and queries of length 1.\n\n"
          "The bound does not cover rows that a divided bank does not search.\n\n"
          "Args:\n"
          "    peak: The largest absolute value of a component of the queries.")
      .def_prop_ro(
          "rows", [](const gp_bank& self) { return self.bank.rows(); }, "The number of rows.")
      .def_prop_ro(
          "width", [](const gp_bank& self) { return self.bank.width(); }, "The number of components of a row.")
      .def_prop_ro(
          "precision", [](const gp_bank& self) { return name_of(self.bank.precision()); },
          "How rows are stored: fp32, bf16 or int8.")
      .def_prop_ro("nbytes", [](const gp_bank& self) { return self.bank.bytes(); }, "The bytes that the rows occupy.");
}
