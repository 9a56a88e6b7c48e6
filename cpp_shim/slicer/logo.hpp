// The modules' logo: the network's U, with the step at its bottom that gives it the name. Drawn by the compiler.
#ifndef TRANSUNET_SLICER_LOGO_HPP
#define TRANSUNET_SLICER_LOGO_HPP

#include <array>
#include <cstddef>

namespace transunet::slicer::logo {

constexpr int SIZE = 48;
/// Red, green, blue, opacity.
constexpr int PIXEL = 4;
using Image = std::array<unsigned char, SIZE * SIZE * PIXEL>;

/// Whether (x, y), each from 0 to 1 and y downwards, lies within `radius` of the line from (x0, y0) to (x1, y1).
constexpr bool near(double x, double y, double x0, double y0, double x1, double y1, double radius) {
  const double dx = x1 - x0, dy = y1 - y0;
  double t = ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy + 1e-12);
  t = t < 0.0 ? 0.0 : t > 1.0 ? 1.0 : t;
  const double ex = x - (x0 + t * dx), ey = y - (y0 + t * dy);
  return ex * ex + ey * ey <= radius * radius;
}

/// What is drawn at (x, y): 0 nothing, 1 the way down, 2 the transformer at the bottom, 3 the way up, 4 a skip.
constexpr int part(double x, double y) {
  if (near(x, y, 0.38, 0.84, 0.62, 0.84, 0.10)) return 2;
  if (near(x, y, 0.16, 0.14, 0.16, 0.62, 0.085) || near(x, y, 0.16, 0.62, 0.34, 0.80, 0.085)) return 1;
  if (near(x, y, 0.84, 0.14, 0.84, 0.62, 0.085) || near(x, y, 0.84, 0.62, 0.66, 0.80, 0.085)) return 3;
  if (near(x, y, 0.33, 0.20, 0.67, 0.20, 0.028) || near(x, y, 0.33, 0.40, 0.67, 0.40, 0.028)) return 4;
  return 0;
}

constexpr Image draw() {
  constexpr int FINE = 4;
  constexpr int COLORS[5][3] = {{0, 0, 0}, {38, 110, 173}, {232, 145, 45}, {46, 153, 120}, {150, 160, 170}};
  Image image{};
  for (int row = 0; row < SIZE; row++) {
    for (int column = 0; column < SIZE; column++) {
      int sum[3] = {}, drawn = 0;
      for (int sample = 0; sample < FINE * FINE; sample++) {
        const double x = (column + (sample % FINE + 0.5) / FINE) / SIZE;
        const double y = (row + (sample / FINE + 0.5) / FINE) / SIZE;
        const int found = part(x, y);
        if (found == 0) continue;
        drawn++;
        for (int c = 0; c < 3; c++) sum[c] += COLORS[found][c];
      }
      const std::size_t at = static_cast<std::size_t>(row * SIZE + column) * PIXEL;
      for (std::size_t c = 0; c < 3; c++) {
        image[at + c] = static_cast<unsigned char>(drawn == 0 ? 0 : sum[c] / drawn);
      }
      image[at + 3] = static_cast<unsigned char>(drawn * 255 / (FINE * FINE));
    }
  }
  return image;
}

}  // namespace transunet::slicer::logo

#endif
