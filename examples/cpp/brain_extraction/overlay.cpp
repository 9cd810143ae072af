#include "overlay.hpp"

#include <itkImageFileWriter.h>
#include <itkImageRegionConstIteratorWithIndex.h>
#include <itkRGBPixel.h>
#include <itkResampleImageFilter.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace {

using Colour = itk::RGBPixel<std::uint8_t>;
using Picture = itk::Image<Colour, 2>;
using Vector = itk::Vector<double, 3>;

// Pixels along the longest side of the volume, and the black around it where the letters stand.
constexpr double picture_side = 900;
constexpr long margin = 36;

constexpr std::array<double, 3> mask_colour = {255, 112, 32};
constexpr double fill_opacity = 0.16;
constexpr int outline_width = 2;

/// Axes of a volume that run to the left, to posterior and to superior, and which way they go in a picture.
struct Plane {
    const char* name;
    unsigned right_axis;
    unsigned down_axis;
    double down_sign;
    unsigned normal_axis;
    char left, right, top, bottom;  // what the edges are called
};

constexpr std::array<Plane, 3> planes = {{
    {"axial", 0, 1, 1, 2, 'R', 'L', 'A', 'P'},
    {"coronal", 0, 2, -1, 1, 'R', 'L', 'S', 'I'},
    {"sagittal", 1, 2, -1, 0, 'A', 'P', 'S', 'I'},
}};

// Letters of 5 by 7 dots; the highest of a row's five bits is the dot at the left.
constexpr int glyph_width = 5;
constexpr int glyph_height = 7;
constexpr int glyph_scale = 3;
const std::map<char, std::array<std::uint8_t, glyph_height>> glyphs = {
    {'A', {0x0E, 0x11, 0x11, 0x1F, 0x11, 0x11, 0x11}}, {'I', {0x0E, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0E}},
    {'L', {0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1F}}, {'P', {0x1E, 0x11, 0x11, 0x1E, 0x10, 0x10, 0x10}},
    {'R', {0x1E, 0x11, 0x11, 0x1E, 0x14, 0x12, 0x11}}, {'S', {0x0F, 0x10, 0x10, 0x0E, 0x01, 0x01, 0x1E}},
};

/// Black and white of the grey scale.
struct Window {
    float black;
    float white;
};

/// From the darkest voxels of the volume to somewhat above the brightest of the brain: fat may saturate, and grey and
/// white matter must differ under the tint of the mask too.
Window choose_window(const Volume* volume, const Mask* mask) {
    const float* voxels = volume->GetBufferPointer();
    const std::size_t count = volume->GetPixelContainer()->Size();
    std::vector<float> all(voxels, voxels + count);
    std::vector<float> brain;
    for (std::size_t i = 0; i < count; ++i) {
        if (mask->GetBufferPointer()[i]) {
            brain.push_back(voxels[i]);
        }
    }
    const auto percentile = [](std::vector<float>& values, double fraction) {
        const double rank = fraction * static_cast<double>(values.size() - 1);
        const auto nth = values.begin() + static_cast<std::ptrdiff_t>(rank);
        std::nth_element(values.begin(), nth, values.end());
        return *nth;
    };
    const float black = percentile(all, 0.01);
    const float brightest = std::max(percentile(brain.empty() ? all : brain, 0.99), std::nextafter(black, INFINITY));
    return {black, black + 1.2F * (brightest - black)};
}

/// The middle of the mask as an index into `frame`; where there is no mask, the middle of `frame`.
itk::ContinuousIndex<double, 3> centre_of(const Mask* mask, const Volume* frame) {
    itk::ContinuousIndex<double, 3> centre;
    for (unsigned axis = 0; axis < 3; ++axis) {
        centre[axis] = (static_cast<double>(frame->GetLargestPossibleRegion().GetSize(axis)) - 1) / 2;
    }
    itk::ContinuousIndex<double, 3> sum;
    sum.Fill(0);
    double count = 0;
    itk::ImageRegionConstIteratorWithIndex<Mask> voxel(mask, mask->GetLargestPossibleRegion());
    for (; !voxel.IsAtEnd(); ++voxel) {
        if (voxel.Get()) {
            for (unsigned axis = 0; axis < 3; ++axis) {
                sum[axis] += static_cast<double>(voxel.GetIndex()[axis]);
            }
            count += 1;
        }
    }
    if (count > 0) {
        for (unsigned axis = 0; axis < 3; ++axis) {
            sum[axis] /= count;
        }
        Mask::PointType point;
        mask->TransformContinuousIndexToPhysicalPoint(sum, point);
        frame->TransformPhysicalPointToContinuousIndex(point, centre);
    }
    return centre;
}

/// The plane as a volume of one slice, with square pixels of `pixel` millimetres and the margin around it.
Volume::Pointer plane_grid(const Plane& plane, const Volume* frame, const itk::ContinuousIndex<double, 3>& centre,
                           double pixel) {
    const auto size = frame->GetLargestPossibleRegion().GetSize();
    const auto pixels_along = [&](unsigned axis) {
        const double extent = static_cast<double>(size[axis]) * frame->GetSpacing()[axis];
        return static_cast<itk::SizeValueType>(std::max(1L, std::lround(extent / pixel)) + 2 * margin);
    };
    const auto direction_of = [&](unsigned axis) {
        Vector direction;
        for (unsigned row = 0; row < 3; ++row) {
            direction[row] = frame->GetDirection()[row][axis];
        }
        return direction;
    };
    const auto width = pixels_along(plane.right_axis);
    const auto height = pixels_along(plane.down_axis);
    const Vector right = direction_of(plane.right_axis);
    const Vector down = direction_of(plane.down_axis) * plane.down_sign;
    const Vector normal = direction_of(plane.normal_axis);

    // The picture shows the whole extent of the volume, so only along the normal the mask says where it is.
    itk::ContinuousIndex<double, 3> middle;
    for (const unsigned axis : {plane.right_axis, plane.down_axis}) {
        middle[axis] = (static_cast<double>(size[axis]) - 1) / 2;
    }
    middle[plane.normal_axis] = std::round(centre[plane.normal_axis]);
    Volume::PointType origin;
    frame->TransformContinuousIndexToPhysicalPoint(middle, origin);
    origin -= right * (pixel * static_cast<double>(width - 1) / 2);
    origin -= down * (pixel * static_cast<double>(height - 1) / 2);

    Volume::DirectionType direction;
    for (unsigned row = 0; row < 3; ++row) {
        direction[row][0] = right[row];
        direction[row][1] = down[row];
        direction[row][2] = normal[row];
    }
    const auto grid = Volume::New();
    grid->SetRegions(Volume::SizeType{width, height, 1});
    grid->SetOrigin(origin);
    Volume::SpacingType spacing;
    spacing.Fill(pixel);
    grid->SetSpacing(spacing);
    grid->SetDirection(direction);
    return grid;
}

template <class Image>
Volume::Pointer sample(const Image* image, const Volume* grid) {
    const auto resample = itk::ResampleImageFilter<Image, Volume>::New();
    resample->SetInput(image);
    resample->SetReferenceImage(grid);
    resample->UseReferenceImageOn();
    // Outside the volume it is black, and there is no mask, whatever the volume's range is.
    resample->SetDefaultPixelValue(std::numeric_limits<float>::lowest());
    resample->Update();
    return resample->GetOutput();
}

/// The mask in one plane.
class Region {
public:
    explicit Region(const Volume* coverage)
        : coverage_(coverage->GetBufferPointer()),
          width_(static_cast<int>(coverage->GetLargestPossibleRegion().GetSize(0))),
          height_(static_cast<int>(coverage->GetLargestPossibleRegion().GetSize(1))) {}

    bool contains(int x, int y) const {
        return x >= 0 && y >= 0 && x < width_ && y < height_ && coverage_[y * width_ + x] > 0.5F;
    }

    /// Whether a pixel of the region is near to one outside.
    bool is_outline(int x, int y) const {
        for (int dy = -outline_width; dy <= outline_width; ++dy) {
            for (int dx = -outline_width; dx <= outline_width; ++dx) {
                if (dx * dx + dy * dy <= outline_width * outline_width && !contains(x + dx, y + dy)) {
                    return true;
                }
            }
        }
        return false;
    }

private:
    const float* coverage_;
    int width_;
    int height_;
};

Colour blend(float grey, double opacity) {
    Colour colour;
    for (unsigned channel = 0; channel < 3; ++channel) {
        colour[channel] = static_cast<std::uint8_t>(std::lround(grey * (1 - opacity) + mask_colour[channel] * opacity));
    }
    return colour;
}

void draw_letter(Picture* picture, char letter, long left, long top) {
    const auto& rows = glyphs.at(letter);
    Colour letter_colour;
    letter_colour.Fill(230);
    for (int y = 0; y < glyph_height * glyph_scale; ++y) {
        for (int x = 0; x < glyph_width * glyph_scale; ++x) {
            const Picture::IndexType index = {{left + x, top + y}};
            if (rows[y / glyph_scale] >> (glyph_width - 1 - x / glyph_scale) & 1) {
                picture->SetPixel(index, letter_colour);
            }
        }
    }
}

void draw_letters(Picture* picture, const Plane& plane) {
    constexpr long letter_width = glyph_width * glyph_scale;
    constexpr long letter_height = glyph_height * glyph_scale;
    const auto size = picture->GetLargestPossibleRegion().GetSize();
    const long width = static_cast<long>(size[0]);
    const long height = static_cast<long>(size[1]);
    const long middle_x = (width - letter_width) / 2;
    const long middle_y = (height - letter_height) / 2;
    const long inset_x = (margin - letter_width) / 2;
    const long inset_y = (margin - letter_height) / 2;
    draw_letter(picture, plane.left, inset_x, middle_y);
    draw_letter(picture, plane.right, width - inset_x - letter_width, middle_y);
    draw_letter(picture, plane.top, middle_x, inset_y);
    draw_letter(picture, plane.bottom, middle_x, height - inset_y - letter_height);
}

Picture::Pointer paint(const Volume* anatomy, const Volume* coverage, Window window) {
    const auto size = anatomy->GetLargestPossibleRegion().GetSize();
    const auto picture = Picture::New();
    picture->SetRegions(Picture::SizeType{size[0], size[1]});
    picture->Allocate();
    const Region region(coverage);
    const float* voxel = anatomy->GetBufferPointer();
    Colour* pixel = picture->GetBufferPointer();
    for (int y = 0; y < static_cast<int>(size[1]); ++y) {
        for (int x = 0; x < static_cast<int>(size[0]); ++x) {
            const float grey = 255 * std::clamp((*voxel++ - window.black) / (window.white - window.black), 0.0F, 1.0F);
            const bool inside = region.contains(x, y);
            *pixel++ = blend(grey, !inside ? 0 : region.is_outline(x, y) ? 1 : fill_opacity);
        }
    }
    return picture;
}

}  // namespace

void write_overlays(const Volume* volume, const Mask* mask, const std::filesystem::path& folder) {
    const auto frame = reorient(volume, {towards::left, towards::posterior, towards::superior});
    const auto centre = centre_of(mask, frame);
    const Window window = choose_window(volume, mask);
    double longest = 0;
    for (unsigned axis = 0; axis < 3; ++axis) {
        const auto voxels = static_cast<double>(frame->GetLargestPossibleRegion().GetSize(axis));
        longest = std::max(longest, voxels * frame->GetSpacing()[axis]);
    }
    for (const Plane& plane : planes) {
        const auto grid = plane_grid(plane, frame, centre, longest / picture_side);
        const auto picture = paint(sample(volume, grid.GetPointer()), sample(mask, grid.GetPointer()), window);
        draw_letters(picture, plane);
        const auto writer = itk::ImageFileWriter<Picture>::New();
        writer->SetInput(picture);
        writer->SetFileName((folder / (std::string(plane.name) + ".png")).string());
        writer->Update();
    }
}
