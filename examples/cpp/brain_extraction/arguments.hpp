// The command line.

#pragma once

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>

struct Arguments {
    std::filesystem::path model;
    std::filesystem::path volume;
    std::filesystem::path out;
    std::optional<std::filesystem::path> reference;
    std::string tensorrt;
    std::optional<int> threads;
    std::optional<int> device;
    bool help = false;
};

class UsageError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

extern const char* const usage;

/// Throws UsageError.
Arguments parse_arguments(int argc, char** argv);
