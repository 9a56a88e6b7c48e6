#include "contract.hpp"

namespace logo = transunet::slicer::logo;

constexpr logo::Image DRAWN = logo::draw();

const logo::Image ModuleLogoImage = DRAWN;
const int ModuleLogoWidth = logo::SIZE;
const int ModuleLogoHeight = logo::SIZE;
const int ModuleLogoPixelSize = logo::PIXEL;
const unsigned long ModuleLogoLength = sizeof ModuleLogoImage;
