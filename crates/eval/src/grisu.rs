//! Decimal digits of floating-point numbers by Grisu2 (Loitsch, "Printing floating-point numbers quickly and accurately with
//! integers", 2010), with the parameters of the library that C++ Nix writes JSON with: cached powers of ten in steps of eight
//! from 10^-300, scaled exponents between -60 and -32. About one number in a thousand gets a digit more than it needs.

/// A number `f * 2^e`.
#[derive(Clone, Copy)]
struct Scaled {
    f: u64,
    e: i32,
}

impl Scaled {
    /// The product's upper half, rounded.
    fn times(self, other: Scaled) -> Scaled {
        let product = u128::from(self.f) * u128::from(other.f) + (1 << 63);
        Scaled { f: (product >> 64) as u64, e: self.e + other.e + 64 }
    }

    fn normal(self) -> Scaled {
        let by = self.f.leading_zeros();
        Scaled { f: self.f << by, e: self.e - by as i32 }
    }
}

/// First power of ten in [`POWERS`], and the step from one to the next.
const FIRST: i32 = -300;
const STEP: i32 = 8;

/// Significands and binary exponents of 10^-300, 10^-292, …, 10^324, to the nearest.
const POWERS: &[(u64, i32)] = &[
    (0xab70fe17c79ac6ca, -1060), (0xff77b1fcbebcdc4f, -1034), (0xbe5691ef416bd60c, -1007),
    (0x8dd01fad907ffc3c, -980), (0xd3515c2831559a83, -954), (0x9d71ac8fada6c9b5, -927),
    (0xea9c227723ee8bcb, -901), (0xaecc49914078536d, -874), (0x823c12795db6ce57, -847),
    (0xc21094364dfb5637, -821), (0x9096ea6f3848984f, -794), (0xd77485cb25823ac7, -768),
    (0xa086cfcd97bf97f4, -741), (0xef340a98172aace5, -715), (0xb23867fb2a35b28e, -688),
    (0x84c8d4dfd2c63f3b, -661), (0xc5dd44271ad3cdba, -635), (0x936b9fcebb25c996, -608),
    (0xdbac6c247d62a584, -582), (0xa3ab66580d5fdaf6, -555), (0xf3e2f893dec3f126, -529),
    (0xb5b5ada8aaff80b8, -502), (0x87625f056c7c4a8b, -475), (0xc9bcff6034c13053, -449),
    (0x964e858c91ba2655, -422), (0xdff9772470297ebd, -396), (0xa6dfbd9fb8e5b88f, -369),
    (0xf8a95fcf88747d94, -343), (0xb94470938fa89bcf, -316), (0x8a08f0f8bf0f156b, -289),
    (0xcdb02555653131b6, -263), (0x993fe2c6d07b7fac, -236), (0xe45c10c42a2b3b06, -210),
    (0xaa242499697392d3, -183), (0xfd87b5f28300ca0e, -157), (0xbce5086492111aeb, -130),
    (0x8cbccc096f5088cc, -103), (0xd1b71758e219652c, -77), (0x9c40000000000000, -50),
    (0xe8d4a51000000000, -24), (0xad78ebc5ac620000, 3), (0x813f3978f8940984, 30),
    (0xc097ce7bc90715b3, 56), (0x8f7e32ce7bea5c70, 83), (0xd5d238a4abe98068, 109),
    (0x9f4f2726179a2245, 136), (0xed63a231d4c4fb27, 162), (0xb0de65388cc8ada8, 189),
    (0x83c7088e1aab65db, 216), (0xc45d1df942711d9a, 242), (0x924d692ca61be758, 269),
    (0xda01ee641a708dea, 295), (0xa26da3999aef774a, 322), (0xf209787bb47d6b85, 348),
    (0xb454e4a179dd1877, 375), (0x865b86925b9bc5c2, 402), (0xc83553c5c8965d3d, 428),
    (0x952ab45cfa97a0b3, 455), (0xde469fbd99a05fe3, 481), (0xa59bc234db398c25, 508),
    (0xf6c69a72a3989f5c, 534), (0xb7dcbf5354e9bece, 561), (0x88fcf317f22241e2, 588),
    (0xcc20ce9bd35c78a5, 614), (0x98165af37b2153df, 641), (0xe2a0b5dc971f303a, 667),
    (0xa8d9d1535ce3b396, 694), (0xfb9b7cd9a4a7443c, 720), (0xbb764c4ca7a44410, 747),
    (0x8bab8eefb6409c1a, 774), (0xd01fef10a657842c, 800), (0x9b10a4e5e9913129, 827),
    (0xe7109bfba19c0c9d, 853), (0xac2820d9623bf429, 880), (0x80444b5e7aa7cf85, 907),
    (0xbf21e44003acdd2d, 933), (0x8e679c2f5e44ff8f, 960), (0xd433179d9c8cb841, 986),
    (0x9e19db92b4e31ba9, 1013),
];

/// Digits of a positive, finite number, without leading zeros, and the power of ten that they are multiplied with.
pub(crate) fn digits(x: f64) -> (Vec<u8>, i32) {
    let bits = x.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let exponent = (bits >> 52) as i32 & 0x7ff;
    let exact = match exponent {
        0 => Scaled { f: fraction, e: -1074 },
        _ => Scaled { f: fraction | 1 << 52, e: exponent - 1075 },
    };
    // Half way to the neighbours; the lower one is nearer where the exponent changes.
    let above = Scaled { f: 2 * exact.f + 1, e: exact.e - 1 }.normal();
    let below = match fraction == 0 && exponent > 1 {
        true => Scaled { f: 4 * exact.f - 1, e: exact.e - 2 },
        false => Scaled { f: 2 * exact.f - 1, e: exact.e - 1 },
    };
    let below = Scaled { f: below.f << (below.e - above.e), e: above.e };

    // The power that brings the exponent into its range.
    let shift = -61 - above.e;
    let tenth = (shift * 78913) / (1 << 18) + i32::from(shift > 0);
    let index = (tenth - FIRST + STEP - 1) / STEP;
    let (f, e) = POWERS[index as usize];
    let power = Scaled { f, e };
    let value = exact.normal().times(power);
    // A unit less on both sides: the products are not exact.
    let high = above.times(power).f - 1;
    let low = below.times(power).f + 1;
    let (digits, more) = generate(value, low, high);
    (digits, more - (FIRST + index * STEP))
}

/// The fewest digits of a number between `low` and `high`, near `value`; and the power of ten of the last.
fn generate(value: Scaled, low: u64, high: u64) -> (Vec<u8>, i32) {
    let mut width = high - low;
    let mut distance = high - value.f;
    let bits = value.e.unsigned_abs();
    let one = 1u64 << bits;
    let mut whole = high >> bits;
    let mut part = high & (one - 1);
    let mut out = Vec::with_capacity(17);
    let mut left = if whole == 0 { 1 } else { whole.ilog10() as i32 + 1 };
    let mut unit = 10u64.pow(left as u32 - 1);
    while left > 0 {
        out.push(b'0' + (whole / unit) as u8);
        whole %= unit;
        left -= 1;
        let rest = (whole << bits) + part;
        if rest <= width {
            round(&mut out, distance, width, rest, unit << bits);
            return (out, left);
        }
        unit /= 10;
    }
    let mut exponent = 0;
    loop {
        part *= 10;
        out.push(b'0' + (part >> bits) as u8);
        part &= one - 1;
        exponent -= 1;
        width *= 10;
        distance *= 10;
        if part <= width {
            round(&mut out, distance, width, part, one);
            return (out, exponent);
        }
    }
}

/// Lowers the last digit while that brings the number nearer to the value.
fn round(digits: &mut [u8], distance: u64, width: u64, mut rest: u64, unit: u64) {
    while rest < distance && width - rest >= unit && (rest + unit < distance || distance - rest > rest + unit - distance) {
        if let Some(last) = digits.last_mut() {
            *last -= 1;
        }
        rest += unit;
    }
}

#[cfg(test)]
mod tests {
    use super::digits;

    fn value(x: f64) -> f64 {
        let (digits, exponent) = digits(x);
        format!("{}e{exponent}", String::from_utf8(digits).unwrap()).parse().unwrap()
    }

    #[test]
    fn digits_read_back_and_are_as_few_as_the_algorithm_finds() {
        let mut bits = 0x9e37_79b9_7f4a_7c15u64;
        let mut longer = 0;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let x = f64::from_bits(bits >> 1);
            if !x.is_finite() || x == 0.0 {
                continue;
            }
            assert_eq!(value(x), x);
            let shortest = format!("{x:e}").bytes().take_while(|b| *b != b'e').filter(u8::is_ascii_digit).count();
            assert!(digits(x).0.len() >= shortest, "{x:e}");
            longer += usize::from(digits(x).0.len() > shortest);
        }
        assert!((1..100).contains(&longer), "{longer}");
    }

    #[test]
    fn the_ends_of_the_range() {
        for x in [5e-324, 2.225_073_858_507_201e-308, f64::MIN_POSITIVE, f64::MAX, 1.0, 0.1, 9_007_199_254_740_993.0] {
            assert_eq!(value(x), x);
        }
    }
}
