#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>

#include <array>

#include "bind.h"
#include "failure.h"
#include "preprocess.h"

namespace {

namespace nb = nanobind;
using namespace nb::literals;

struct Format {
  const char* name;
  gp_format format;
  int64_t samples;  // per pixel, the length of the last axis; 0 if there is no such axis
  const char* shape;
};

constexpr Format kFormats[] = {
    {"rgb", GP_RGB, 3, "[H,W,3]"},   {"bgr", GP_BGR, 3, "[H,W,3]"},     {"grey", GP_GREY, 0, "[H,W]"},
    {"yuyv", GP_YUYV, 2, "[H,W,2]"}, {"nv12", GP_NV12, 0, "[H*3/2,W]"},
};

std::string shown(nb::handle value) {
  const std::string text = nb::repr(value).c_str();
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

std::string strides_of(const gp::Array& array) {
  std::string text = "(";
  for (size_t axis = 0; axis < array.ndim(); ++axis) text += (axis ? "," : "") + std::to_string(array.stride(axis));
  return text + ")";
}

const Format& format_named(const nb::object& name) {
  std::string text;
  if (!nb::try_cast(name, text, false))
    throw nb::type_error(("format is " + shown(name) + ": a str is accepted").c_str());
  for (const Format& format : kFormats)
    if (text == format.name) return format;
  throw gp::Invalid("format is " + shown(name) + ": rgb, bgr, grey, yuyv and nv12 are accepted");
}

template <size_t N>
std::array<int64_t, N> integers(const nb::object& value, const char* name, const char* accepted) {
  std::array<int64_t, N> numbers;
  if (!nb::try_cast(value, numbers))
    throw nb::type_error(
        (std::string(name) + " is " + shown(value) + ": integers " + accepted + " are accepted").c_str());
  return numbers;
}

// Read an array as a frame. Throws TypeError unless it is a uint8 array in the CPU's memory, ValueError for another
// shape or for gaps inside a row.
gp_frame frame_of(const nb::object& object, const Format& format, gp::Array& array) {
  if (!nb::try_cast(object, array))
    throw nb::type_error(("frame is " + std::string(nb::inst_name(object).c_str()) +
                          ": a uint8 array, numpy's or one with __dlpack__, is accepted")
                             .c_str());
  if (array.dtype() != nb::dtype<uint8_t>())
    throw nb::type_error(("frame is " + gp::dtype_of(array.dtype()) + ": uint8 is accepted").c_str());
  if (array.device_type() != nb::device::cpu::value)
    throw nb::type_error("frame is not in the CPU's memory: copy it there first");
  const int64_t samples = format.samples ? format.samples : 1;
  const bool nv12 = format.format == GP_NV12;
  if (array.ndim() != (format.samples ? 3 : 2) || (format.samples && static_cast<int64_t>(array.shape(2)) != samples) ||
      (nv12 && array.shape(0) % 3))
    throw gp::Invalid("frame is " + gp::shape_of(array) + ": " + format.shape + " is accepted for format '" +
                      format.name + "'");
  const auto rows = static_cast<int64_t>(array.shape(0)), width = static_cast<int64_t>(array.shape(1));
  const int64_t row = width * samples, stride = rows > 1 ? array.stride(0) : row;
  const bool dense = (!format.samples || array.stride(2) == 1) && (width == 1 || array.stride(1) == samples);
  if (array.size() && (!dense || stride < row))
    throw gp::Invalid("frame of " + gp::shape_of(array) + " has strides " + strides_of(array) +
                      ": rows without gaps inside, one after the other, are accepted");
  gp_frame frame{};
  frame.data = static_cast<const uint8_t*>(array.data());
  frame.width = width;
  frame.height = nv12 ? rows / 3 * 2 : rows;
  frame.stride = stride;
  frame.format = format.format;
  if (nv12) {
    frame.chroma = frame.data + frame.height * stride;
    frame.chroma_stride = stride;
  }
  return frame;
}

nb::ndarray<nb::numpy, uint8_t> resize(const nb::object& object, const nb::object& size, const nb::object& box,
                                       const nb::object& format, const nb::object& asked) {
  int threads;
  if (!nb::try_cast(asked, threads))
    throw nb::type_error(("threads is " + shown(asked) + ": an integer is accepted").c_str());
  gp::Array array;
  const gp_frame frame = frame_of(object, format_named(format), array);
  const auto [height, width] = integers<2>(size, "size", "(height, width)");
  gp_box part{};
  if (!box.is_none()) {
    const auto [x, y, box_width, box_height] = integers<4>(box, "box", "(x, y, width, height)");
    part = {x, y, box_width, box_height};
  }
  gp::check_resize(frame, box.is_none() ? nullptr : &part, width, height, threads);
  gp::Made<uint8_t> made({static_cast<size_t>(height), static_cast<size_t>(width), 3});
  {
    nb::gil_scoped_release release;
    gp::resize(frame, box.is_none() ? nullptr : &part, made.data, width, height, threads);
  }
  return made.array;
}

}  // namespace

void bind_resize(nb::module_& m) {
  m.def("resize", &resize, "frame"_a.none(), "size"_a.none(), "box"_a = nb::none(), "format"_a.none() = "rgb",
        "threads"_a.none() = 0,
        nb::sig("def resize(frame: numpy.typing.NDArray[numpy.uint8], size: tuple[int, int], "
                "box: tuple[int, int, int, int] | None = None, format: str = 'rgb', threads: int = 0) "
                "-> numpy.typing.NDArray[numpy.uint8]"),
        "Crop a box out of a frame and resample it to an RGB image.\n\n"
        "The filter is bicubic with antialiasing, and the result equals that of Pillow, bit for bit.\n\n"
        "Args:\n"
        "    frame: uint8: [H,W,3] for rgb and bgr, [H,W] for grey, [H,W,2] for yuyv, [H*3/2,W] for nv12. There may\n"
        "        be gaps between its rows.\n"
        "    size: (height, width) of the result, each from 1 to 65535 pixels.\n"
        "    box: (x, y, width, height) of the part to crop, in pixels of the frame; None takes the whole frame.\n"
        "    format: rgb, bgr, grey, yuyv or nv12. The last two are converted as BT.601 with limited range.\n"
        "    threads: The most threads to use; 0 for one per processor.\n\n"
        "Returns:\n"
        "    A new array [height,width,3], uint8, RGB.\n\n"
        "Raises:\n"
        "    TypeError: An argument has another type, or the frame is not uint8 or not in the CPU's memory.\n"
        "    ValueError: An argument is out of range, or the frame has another shape or gaps inside a row.");
}
