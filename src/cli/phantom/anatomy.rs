//! Shapes and densities of the phantom's body. LPS mm, origin in the middle of the abdomen; HU as after contrast.

use super::Random;

type Point = [f64; 3];

/// Edges are as soft as a voxel is wide, mm: what partial volume does to a real image.
const EDGE: f64 = 2.8;

/// Half axes of the skin's ellipse, left-right and front-back.
const SKIN: [f64; 2] = [160.0, 112.0];
/// Depths below the skin at which subcutaneous fat ends and the muscles of the wall end.
const WALL: [f64; 2] = [14.0, 27.0];

#[derive(Clone, Copy)]
enum Shape {
    Ellipsoid {
        center: Point,
        radii: Point,
    },
    /// Runs from bottom to top with an elliptic section; `lean` is its shift in x and y per mm upwards.
    Tube {
        center: [f64; 2],
        radii: [f64; 2],
        lean: [f64; 2],
    },
}

impl Shape {
    /// Distance to the surface in mm, negative inside; exact for spheres, close enough for the rest.
    fn distance(&self, p: Point) -> f64 {
        match *self {
            Shape::Ellipsoid { center, radii } => {
                ellipse([p[0] - center[0], p[1] - center[1], p[2] - center[2]], radii)
            }
            Shape::Tube { center, radii, lean } => {
                ellipse([p[0] - center[0] - lean[0] * p[2], p[1] - center[1] - lean[1] * p[2]], radii)
            }
        }
    }
}

fn ellipse<const N: usize>(p: [f64; N], radii: [f64; N]) -> f64 {
    let (mut level, mut slope) = (0.0, 0.0);
    for (x, r) in p.iter().zip(radii) {
        level += (x / r) * (x / r);
        slope += (x / (r * r)) * (x / (r * r));
    }
    let (level, slope) = (level.sqrt(), slope.sqrt());
    if slope < 1e-9 { -radii.iter().fold(f64::MAX, |a, &b| a.min(b)) } else { level * (level - 1.0) / slope }
}

/// How much of a voxel lies inside a surface at `distance`.
fn coverage(distance: f64) -> f64 {
    (0.5 - distance / EDGE).clamp(0.0, 1.0)
}

struct Part {
    shape: Shape,
    hu: f64,
    /// `None` leaves the label that is there.
    label: Option<u8>,
}

/// One person: later parts cover earlier ones.
pub struct Body {
    skin: [f64; 2],
    parts: Vec<Part>,
}

impl Body {
    /// A person of the seed's own size, shape and density.
    pub fn new(random: &mut Random) -> Self {
        let scale = 1.0 + 0.05 * random.signed();
        let skin = [SKIN[0] * scale, SKIN[1] * scale * (1.0 + 0.04 * random.signed())];
        let mut parts = Vec::new();
        let mut ellipsoid = |center: Point, radii: Point, hu: f64, label: Option<u8>| {
            let center = center.map(|c| c * scale + 4.0 * random.signed());
            let radii = radii.map(|r| r * scale * (1.0 + 0.07 * random.signed()));
            parts.push(Part { shape: Shape::Ellipsoid { center, radii }, hu: hu + 5.0 * random.signed(), label });
            (center, radii)
        };
        // Lungs, then what pushes up into them.
        ellipsoid([-72.0, 8.0, 108.0], [58.0, 74.0, 62.0], -850.0, Some(0));
        ellipsoid([72.0, 10.0, 108.0], [56.0, 74.0, 72.0], -850.0, Some(0));
        ellipsoid([22.0, -32.0, 104.0], [46.0, 40.0, 36.0], 130.0, Some(0)); // heart
        ellipsoid([58.0, -38.0, 36.0], [42.0, 34.0, 40.0], 28.0, Some(0)); // stomach
        ellipsoid([58.0, -58.0, 40.0], [24.0, 9.0, 22.0], -900.0, Some(0)); // its air
        for (x, y, z) in
            [(-60, -45, -70), (-25, -50, -50), (10, -55, -62), (48, -50, -45), (72, -30, -70), (-5, -25, -85)]
        {
            ellipsoid([x.into(), y.into(), z.into()], [21.0, 17.0, 19.0], 35.0, Some(0)); // bowel
            ellipsoid([x.into(), f64::from(y) - 7.0, z.into()], [7.0, 5.0, 7.0], -600.0, Some(0));
        }
        ellipsoid([-70.0, 0.0, 26.0], [64.0, 74.0, 62.0], 105.0, Some(4));
        ellipsoid([-8.0, -42.0, 40.0], [58.0, 34.0, 32.0], 105.0, Some(4));
        ellipsoid([94.0, 34.0, 42.0], [25.0, 42.0, 44.0], 120.0, Some(5));
        for (side, label, z) in [(1.0, 2, -8.0), (-1.0, 3, -24.0)] {
            let (center, radii) = ellipsoid([58.0 * side, 40.0, z], [27.0, 26.0, 52.0], 185.0, Some(label));
            let hilum = [center[0] - side * 0.45 * radii[0], center[1] - 4.0, center[2]];
            parts_of_kidney(&mut ellipsoid, hilum, label);
        }
        Body::spine_and_vessels(&mut parts, scale, random);
        Body { skin, parts }
    }

    fn spine_and_vessels(parts: &mut Vec<Part>, scale: f64, random: &mut Random) {
        let sway = [0.03 * random.signed(), 0.06 * random.signed()];
        let mut tube = |center: [f64; 2], radii: [f64; 2], hu: f64, label: u8| {
            let shape = Shape::Tube { center: center.map(|c| c * scale), radii: radii.map(|r| r * scale), lean: sway };
            parts.push(Part { shape, hu, label: Some(label) });
        };
        for side in [-1.0, 1.0] {
            tube([36.0 * side, 60.0], [15.0, 17.0], 58.0, 0); // psoas
            tube([30.0 * side, 84.0], [24.0, 13.0], 55.0, 0); // back muscles
        }
        tube([0.0, 78.0], [18.0, 14.0], 320.0, 6); // arch
        tube([0.0, 92.0], [4.5, 9.0], 300.0, 6); // spinous processes
        tube([0.0, 56.0], [23.0, 18.0], 380.0, 6); // cortex of the bodies
        tube([0.0, 56.0], [20.0, 15.0], 200.0, 6);
        tube([0.0, 79.0], [9.0, 8.0], 30.0, 0); // canal
        tube([11.0, 26.0], [11.0, 11.0], 210.0, 1);
        tube([-17.0, 27.0], [13.0, 10.0], 140.0, 0); // vena cava
        let start = 10.0 * random.signed();
        for disc in -3..=3 {
            let z = start + 34.0 * f64::from(disc);
            let center = [sway[0] * z, 56.0 * scale + sway[1] * z, z];
            let shape = Shape::Ellipsoid { center, radii: [22.0 * scale, 17.0 * scale, 5.0] };
            parts.push(Part { shape, hu: 95.0, label: None });
        }
    }

    /// Density in HU and label at `p`.
    pub fn at(&self, p: Point) -> (f64, u8) {
        // Wider at the ribs and the hips than at the waist.
        let height = (p[2] + 20.0) / 96.0;
        let width = 0.95 + 0.05 * height * height;
        let skin = ellipse([p[0], p[1]], self.skin.map(|axis| axis * width.min(1.03)));
        let (mut hu, mut label) = (-1000.0, 0);
        let mut paint = |distance: f64, value: f64| hu += (value - hu) * coverage(distance);
        paint(skin, -105.0);
        paint(skin + WALL[0], 55.0);
        paint(skin + WALL[1], -95.0);
        let inside = skin + WALL[1];
        for part in &self.parts {
            let mut distance = part.shape.distance(p);
            if part.label != Some(6) {
                distance = distance.max(inside);
            }
            paint(distance, part.hu);
            if let (true, Some(new)) = (distance < 0.0, part.label) {
                label = new;
            }
        }
        paint(rib(p, skin), 350.0);
        (hu, label)
    }
}

/// Fat and vessels where a kidney opens to the midline.
fn parts_of_kidney(ellipsoid: &mut impl FnMut(Point, Point, f64, Option<u8>) -> (Point, Point), at: Point, label: u8) {
    ellipsoid(at, [11.0, 9.0, 22.0], 40.0, Some(label));
}

/// Ribs: sloping hoops in the wall, above the waist and away from the midline in front.
fn rib(p: Point, skin: f64) -> f64 {
    let level = p[2] - 0.4 * p[1];
    if level < -30.0 || (p[0].abs() < 70.0 && p[1] < 0.0) || p[0].abs() < 45.0 {
        return f64::MAX;
    }
    let across = (level / 26.0 - (level / 26.0).floor() - 0.5) * 26.0;
    ellipse([skin + 20.5, across], [3.5, 6.0])
}
