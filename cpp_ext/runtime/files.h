// Files and their digests, as goodparts.runtime.core.files has them in Python.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace gp {

// Convert a file name of the C API, which is UTF-8 on every system, to a path and back.
std::filesystem::path path_of(const std::string& name);
std::string text_of(const std::filesystem::path& path);

// Return all bytes of a regular file. Throws Failure (GP_FILE).
std::string read_bytes(const std::filesystem::path& path);

// Return the SHA-256 as 64 hexadecimal digits. sha256_of_file throws Failure (GP_FILE).
std::string sha256(std::string_view data);
std::string sha256_of_file(const std::filesystem::path& path);

// Return whether `digest` is the SHA-256 of the data after the 64 bytes behind `mark`, where the data holds the digest
// itself, are replaced with zeros.
bool is_sealed(std::string_view data, std::string_view mark, std::string_view digest);

}  // namespace gp
