//! Text of floating-point numbers, in the three spellings that Nix has.

/// As values are printed, and in XML: six significant digits, without closing zeros (`printf`'s `%g`).
pub fn print(x: f64) -> String {
    if !x.is_finite() {
        return special(x);
    }
    if x == 0.0 {
        return if x.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let text = format!("{x:.5e}");
    let (mantissa, exponent) = split(&text);
    if (-4..6).contains(&exponent) {
        let decimals = usize::try_from(5 - exponent).unwrap_or(0);
        return trimmed(&format!("{x:.decimals$}")).to_owned();
    }
    format!("{}e{}", trimmed(mantissa), signed(exponent))
}

/// As `toString` has it: six decimals (`%f`).
pub fn fixed(x: f64) -> String {
    if x.is_finite() { format!("{x:.6}") } else { special(x) }
}

/// As JSON: digits that read back the same (as many as C++ Nix writes), always with a point or an exponent; `null` for what
/// JSON cannot say.
pub fn json(x: f64) -> String {
    if !x.is_finite() {
        return "null".to_owned();
    }
    if x == 0.0 {
        return if x.is_sign_negative() { "-0.0" } else { "0.0" }.to_owned();
    }
    let (digits, power) = crate::grisu::digits(x.abs());
    let digits = String::from_utf8_lossy(&digits);
    let sign = if x < 0.0 { "-" } else { "" };
    let count = digits.len();
    // Where the point stands, counted in digits.
    let point = count as i32 + power;
    let exponent = point - 1;
    match usize::try_from(point) {
        Ok(n) if n >= count && n <= 15 => format!("{sign}{digits}{}.0", "0".repeat(n - count)),
        Ok(n) if n > 0 && n <= 15 => format!("{sign}{}.{}", &digits[..n], &digits[n..]),
        _ if point > -4 && point <= 0 => {
            format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize))
        }
        _ if count == 1 => format!("{sign}{digits}e{}", signed(exponent)),
        _ => format!("{sign}{}.{}e{}", &digits[..1], &digits[1..], signed(exponent)),
    }
}

fn special(x: f64) -> String {
    let sign = if x.is_sign_negative() { "-" } else { "" };
    format!("{sign}{}", if x.is_nan() { "nan" } else { "inf" })
}

/// Mantissa and exponent of what `{:e}` gives.
fn split(text: &str) -> (&str, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (mantissa, exponent.parse().unwrap_or(0))
}

fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// An exponent with its sign and at least two digits.
fn signed(exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed() {
        for (x, text) in [
            (1e10, "1e+10"), (1.0 / 3.0, "0.333333"), (123_456_789.0, "1.23457e+08"), (1.0, "1"), (0.5, "0.5"),
            (100_000.0, "100000"), (1_000_000.0, "1e+06"), (0.0001, "0.0001"), (0.00001, "1e-05"), (-2.5, "-2.5"),
            (999_999.5, "1e+06"), (f64::INFINITY, "inf"), (1e300, "1e+300"),
        ] {
            assert_eq!(print(x), text);
        }
    }

    #[test]
    fn to_string() {
        assert_eq!(fixed(1.5), "1.500000");
        assert_eq!(fixed(1e20), "100000000000000000000.000000");
        assert_eq!(fixed(-0.0000004), "-0.000000");
    }

    #[test]
    fn in_json() {
        for (x, text) in [
            (1.0, "1.0"), (0.1, "0.1"), (1e-5, "1e-05"), (0.0001, "0.0001"), (0.001, "0.001"), (3e15, "3e+15"), (1e14, "100000000000000.0"),
            (1.5e300, "1.5e+300"), (123.456, "123.456"), (-0.0, "-0.0"), (f64::NAN, "null"), (5e-324, "5e-324"),
            (123_456_789_012_345.6, "123456789012345.6"),
        ] {
            assert_eq!(json(x), text);
        }
    }
}
