// What a test double was called with: each method records its name and arguments, a call a line. One source for the
// double of libnvinfer and that of the ONNX parser, each of which has a record of its own.

#ifndef RECORD_HPP
#define RECORD_HPP

#include "NvInferRuntime.h"

#include <cstdint>
#include <mutex>
#include <sstream>
#include <string>

using namespace nvinfer1;

namespace
{
// ---- The record

std::mutex gMutex;
bool gRecording = false;
std::string gRecord;

inline void put(std::ostream& out, char const* text)
{
    text ? out << '"' << text << '"' : out << "null";
}

inline void put(std::ostream& out, void const* pointer)
{
    out << "0x" << std::hex << reinterpret_cast<uintptr_t>(pointer) << std::dec;
}

inline void put(std::ostream& out, bool value)
{
    out << (value ? "true" : "false");
}

inline void put(std::ostream& out, Dims const& dims)
{
    out << '[';
    for (int32_t i = 0; i < dims.nbDims; ++i)
    {
        out << (i ? ", " : "") << dims.d[i];
    }
    out << ']';
}

template <typename T>
inline void put(std::ostream& out, T* pointer)
{
    put(out, static_cast<void const*>(pointer));
}

template <typename T>
inline void put(std::ostream& out, T value)
{
    out << static_cast<int64_t>(value);
}

// A call that is to be recorded: `Call{interface, method}(arguments…)`.
struct Call
{
    char const* interface;
    char const* method;

    template <typename... Arguments>
    void operator()(Arguments const&... arguments) const
    {
        if (!gRecording)
        {
            return;
        }
        std::ostringstream line;
        line << interface << "::" << method << '(';
        [[maybe_unused]] char const* separator = "";
        ((line << separator, put(line, arguments), separator = ", "), ...);
        line << ")\n";
        std::lock_guard<std::mutex> lock(gMutex);
        gRecord += line.str();
    }
};

// Records a method that the binding never calls.
template <typename Result>
Result never(char const* interface, char const* method)
{
    Call{interface, method}();
    return Result();
}

#define RECORD Call{kSELF, __func__}
#define NEVER(result, name, parameters)                                                            \
    result name parameters noexcept { return never<result>(kSELF, #name); }

} // namespace

#endif
