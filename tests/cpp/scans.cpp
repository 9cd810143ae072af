// Scans in files: what is written lies where the scan lies, and what is no file of that kind is an error.

#include "cpp_tests.hpp"

#include <cstring>
#include <filesystem>
#include <fstream>

static const std::filesystem::path folder = "scans";

// A NIfTI-1 file of 2 by 3 by 4 voxels (z, y, x) of 2 by 1 by 0.5 mm, 0 to 23 times a factor, less bytes at its end.
static std::filesystem::path write(const std::string& name, int16_t factor = 1, std::streamsize less = 0) {
    std::vector<char> bytes(352);
    const auto put = [&](size_t at, auto value) { std::memcpy(&bytes[at], &value, sizeof value); };
    put(0, int32_t{348});
    const int16_t dim[8] = {3, 4, 3, 2, 1, 1, 1, 1};
    std::memcpy(&bytes[40], dim, sizeof dim);
    put(70, int16_t{4});
    put(108, 352.0f);
    put(112, 0.5f);
    put(116, 10.0f);
    put(254, int16_t{1});
    const float rows[12] = {0.5f, 0, 0, 1, 0, 1, 0, 2, 0, 0, 2, 3};
    std::memcpy(&bytes[280], rows, sizeof rows);
    std::memcpy(&bytes[344], "n+1", 4);
    std::ofstream file(folder / name, std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    std::vector<int16_t> voxels;
    for (int16_t i = 0; i < 24; i++) voxels.push_back(static_cast<int16_t>(i * factor));
    file.write(reinterpret_cast<const char*>(voxels.data()), 48 - less);
    return folder / name;
}

static void is_read() {
    const planrt::Scan scan(write("scan.nii"));
    const planrt::Volume volume = scan.volume();
    CHECK((volume.extents == std::array<int64_t, 3>{2, 3, 4} && volume.channels == 1 && volume.size_bytes == 48));
    CHECK((volume.spacing_mm == std::array<double, 3>{2, 1, 0.5} && volume.origin_mm == std::array<double, 3>{-1, -2, 3}));
    CHECK((volume.direction == std::array<double, 9>{-1, 0, 0, 0, -1, 0, 0, 0, 1}));
    CHECK(volume.element_type == planrt::ElementType::int16 && volume.rescale_slope == 0.5 && volume.rescale_intercept == 10);
    CHECK(static_cast<const int16_t*>(volume.data)[23] == 23 && scan.note().empty());
}

static void labels_are_written() {
    const planrt::Scan scan(write("scan.nii"));
    std::vector<uint8_t> labels(24);
    for (size_t i = 0; i < labels.size(); i++) labels[i] = i % 3 == 0;
    for (const char* name : {"labels.nii", "labels.nii.gz"}) {
        scan.write_labels(folder / name, planrt::LabelMap::of(labels));
        const planrt::Scan read(folder / name);
        const planrt::Volume volume = read.volume();
        CHECK(volume.element_type == planrt::ElementType::uint8 && volume.size_bytes == 24 && volume.rescale_slope == 1);
        CHECK(std::memcmp(volume.data, labels.data(), 24) == 0);
        CHECK(volume.origin_mm == scan.volume().origin_mm && volume.direction == scan.volume().direction);
    }
    scan.write_overlay(folder / "labels.png", planrt::LabelMap::of(labels));
    CHECK(std::filesystem::file_size(folder / "labels.png") > 100);
    labels.pop_back();
    CHECK(fails(planrt::ErrorCode::buffer_too_small, [&] {
        scan.write_labels(folder / "none.nii", planrt::LabelMap::of(labels));
        return 0;
    }));
    CHECK(fails(planrt::ErrorCode::invalid_argument, [&] {
        scan.write_overlay(folder / "none.png", planrt::LabelMap::of(labels));
        return 0;
    }));
    labels.push_back(0);
    CHECK(fails(planrt::ErrorCode::io, [&] {
        scan.write_labels(folder / "none" / "labels.nii", planrt::LabelMap::of(labels));
        return 0;
    }));
    CHECK(!std::filesystem::exists(folder / "none.nii") && !std::filesystem::exists(folder / "none.png"));
}

static void channels_are_joined() {
    const planrt::Scan ct(write("ct.nii")), pet(write("pet.nii", 2));
    const planrt::Scan both({&ct, &pet});
    const planrt::Volume volume = both.volume();
    CHECK(volume.channels == 2 && volume.size_bytes == 96 && static_cast<const int16_t*>(volume.data)[47] == 46);
    CHECK(fails(planrt::ErrorCode::invalid_argument, [] { return planrt::Scan(std::vector<const planrt::Scan*>{}); }));
    CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { return planrt::Scan({&ct, nullptr}); }));
}

static void what_is_no_scan() {
    CHECK(fails(planrt::ErrorCode::not_found, [] { return planrt::Scan(folder / "none.nii"); }));
    CHECK(fails(planrt::ErrorCode::io, [] { return planrt::Scan(folder); }));
    CHECK(fails(planrt::ErrorCode::invalid_argument, [] { return planrt::Scan(write("cut.nii", 1, 1)); }));
    CHECK(fails(planrt::ErrorCode::invalid_argument, [] { return planrt::Scan(std::filesystem::path(small)); }));
}

int main() {
    std::filesystem::create_directories(folder);
    is_read();
    labels_are_written();
    channels_are_joined();
    what_is_no_scan();
    return 0;
}
