//! A decimal number of any precision.
//! Always: a number keeps the digits with which it was written or computed, as `java.math.BigDecimal` does: 1.50 + 1.50
//! is "3.00". Sums, differences and products are exact; a quotient has at most 34 significant digits. Whole numbers
//! that fit are stored as `i64`. No number has more than [`Number::DIGITS_MAX`] digits, so printing a number stays
//! cheap.
//! Never here: JSON (see `json`), and what an operator does with a value that is no number (see `eval`).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU64;
use std::str::FromStr;

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, RoundingMode, Zero};

/// A decimal number. Equality and order are numeric: `1.0 == 1`.
#[derive(Clone)]
pub struct Number(Form);

#[derive(Clone)]
enum Form {
    Integer(i64),
    /// Anything else, including whole numbers written with a fraction ("1.0") or an exponent ("1E+3").
    Decimal(Box<BigDecimal>),
}

/// Why there is no such number. The text is what users see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// The text is not a number.
    #[error("Not a valid number: {0}")]
    NotANumber(String),
    /// The number has more digits than we want to print.
    #[error("Number has more than {} digits", Number::DIGITS_MAX)]
    TooLong,
    /// Something was divided by zero.
    #[error("ArithmeticException: Division by zero")]
    DivisionByZero,
    /// Zero was divided by zero.
    #[error("ArithmeticException: Division undefined")]
    DivisionUndefined,
}

impl Number {
    /// The bound on digits before plus after the point.
    pub const DIGITS_MAX: u64 = 10_000;
    /// The precision of a quotient that does not come out even.
    const QUOTIENT_DIGITS: NonZeroU64 = NonZeroU64::new(34).expect("34 is not zero");

    /// The number as integer, if it is a whole number and fits. `1.0` is whole.
    pub fn to_i64(&self) -> Option<i64> {
        match &self.0 {
            Form::Integer(n) => Some(*n),
            Form::Decimal(d) if d.is_integer() => {
                i64::try_from(d.with_scale(0).into_bigint_and_scale().0).ok()
            }
            Form::Decimal(_) => None,
        }
    }

    /// Whether there is nothing behind the point but zeros.
    pub fn is_integer(&self) -> bool {
        match &self.0 {
            Form::Integer(_) => true,
            Form::Decimal(d) => d.is_integer(),
        }
    }

    /// Returns how many machine words the number takes: 1 for most numbers.
    pub(crate) fn words(&self) -> usize {
        match &self.0 {
            Form::Integer(_) => 1,
            Form::Decimal(d) => {
                let (digits, scale) = d.as_bigint_and_scale();
                let words = digits.bits() / 64 + scale.unsigned_abs() / 19 + 1;
                usize::try_from(words).unwrap_or(usize::MAX)
            }
        }
    }

    /// Whether the number is below zero.
    pub fn is_negative(&self) -> bool {
        *self < Number::from(0)
    }

    /// The shortest decimal that denotes this double; none for infinities and NaN.
    pub fn from_f64(number: f64) -> Option<Number> {
        number
            .is_finite()
            .then(|| number.to_string().parse().ok())
            .flatten()
    }

    /// The nearest double.
    pub fn to_f64(&self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The sum, with as many decimal places as the operand with more of them.
    pub fn plus(&self, other: &Number) -> Result<Number, NumberError> {
        self.combine(other, i64::checked_add, sum)
    }

    /// The difference, with as many decimal places as the operand with more of them.
    pub fn minus(&self, other: &Number) -> Result<Number, NumberError> {
        self.combine(other, i64::checked_sub, |a, (b, scale)| sum(a, (-b, scale)))
    }

    /// The product, with the decimal places of both operands together.
    pub fn times(&self, other: &Number) -> Result<Number, NumberError> {
        self.combine(other, i64::checked_mul, |(a, a_scale), (b, b_scale)| {
            (a * b, a_scale + b_scale)
        })
    }

    /// The same number on the other side of zero.
    pub fn negated(&self) -> Result<Number, NumberError> {
        if let Form::Integer(n) = &self.0
            && let Some(negated) = n.checked_neg()
        {
            return Ok(Number::from(negated));
        }
        Number::bounded(-self.to_decimal())
    }

    /// Returns the quotient, exact or rounded half to even to 34 significant digits. The number of decimal places of an
    /// exact quotient is that of the dividend minus that of the divisor, or more if required.
    pub fn divided_by(&self, divisor: &Number) -> Result<Number, NumberError> {
        match (*self == Number::from(0), *divisor == Number::from(0)) {
            (true, true) => return Err(NumberError::DivisionUndefined),
            (false, true) => return Err(NumberError::DivisionByZero),
            (_, false) => {}
        }
        let (dividend, dividend_scale) = self.to_decimal().into_bigint_and_scale();
        let (divisor, divisor_scale) = divisor.to_decimal().into_bigint_and_scale();
        // The integer quotient shall have at least two digits more than wanted; a remainder becomes one sticky digit
        // behind it, so that the one rounding below sees on which side of a tie the true quotient is.
        let shift =
            (Self::QUOTIENT_DIGITS.get() + 3 + digits(&divisor)).saturating_sub(digits(&dividend));
        let shifted = dividend * power_of_ten(shift);
        let (mut quotient, remainder) = (&shifted / &divisor, &shifted % &divisor);
        let mut scale = dividend_scale - divisor_scale + i64::try_from(shift).unwrap_or(i64::MAX);
        if !remainder.is_zero() {
            let sticky = if shifted.sign() == divisor.sign() {
                1
            } else {
                -1
            };
            quotient = quotient * 10 + sticky;
            scale += 1;
        }
        let exact = BigDecimal::new(quotient, scale);
        let rounded = exact
            .with_precision_round(Self::QUOTIENT_DIGITS, RoundingMode::HalfEven)
            .normalized();
        let places = dividend_scale - divisor_scale;
        let missing = places.saturating_sub(rounded.as_bigint_and_scale().1);
        let room = Self::QUOTIENT_DIGITS.get().saturating_sub(rounded.digits());
        let padding = u64::try_from(missing).unwrap_or(0).min(room);
        let (digits, scale) = rounded.into_bigint_and_scale();
        let padded = digits * power_of_ten(padding);
        Number::bounded(BigDecimal::new(
            padded,
            scale + i64::try_from(padding).unwrap_or(0),
        ))
    }

    fn combine(
        &self,
        other: &Number,
        small: fn(i64, i64) -> Option<i64>,
        big: fn(Scaled, Scaled) -> Scaled,
    ) -> Result<Number, NumberError> {
        if let (Form::Integer(a), Form::Integer(b)) = (&self.0, &other.0)
            && let Some(result) = small(*a, *b)
        {
            return Ok(Number::from(result));
        }
        let (digits, scale) = big(
            self.to_decimal().into_bigint_and_scale(),
            other.to_decimal().into_bigint_and_scale(),
        );
        Number::bounded(BigDecimal::new(digits, scale))
    }

    fn bounded(decimal: BigDecimal) -> Result<Number, NumberError> {
        let (bits, scale) = {
            let (digits, scale) = decimal.as_bigint_and_scale();
            (digits.bits(), scale)
        };
        // A decimal digit is worth 3.32 bits.
        if bits * 3 / 10 + scale.unsigned_abs() > Self::DIGITS_MAX {
            return Err(NumberError::TooLong);
        }
        if scale == 0
            && let Ok(integer) = i64::try_from(decimal.as_bigint_and_scale().0.as_ref())
        {
            return Ok(Number::from(integer));
        }
        Ok(Number(Form::Decimal(Box::new(decimal))))
    }

    /// Returns the number as text, as JS7 prints it. The text has an exponent if there are more places before the point
    /// than digits ("1E+3"), or if the first digit is more than six places after the point ("1E-10").
    pub fn to_text(&self) -> String {
        let Form::Decimal(decimal) = &self.0 else {
            return self.to_string();
        };
        let (digits, scale) = decimal.as_bigint_and_scale();
        let places = i64::try_from(decimal.digits()).unwrap_or(i64::MAX) - 1;
        let exponent = places - scale;
        if scale >= 0 && exponent >= -6 {
            return self.to_string();
        }
        let sign = if digits.sign() == Sign::Minus {
            "-"
        } else {
            ""
        };
        let digits = digits.magnitude().to_string();
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        format!("{sign}{first}{point}{rest}E{exponent:+}")
    }

    /// Returns the number as JSON. Parsing the JSON yields the same number with the same digits.
    pub(crate) fn to_json_text(&self) -> String {
        match &self.0 {
            Form::Decimal(decimal) if decimal.as_bigint_and_scale().1 < 0 => self.to_text(),
            Form::Integer(_) | Form::Decimal(_) => self.to_string(),
        }
    }

    fn to_decimal(&self) -> BigDecimal {
        match &self.0 {
            Form::Integer(n) => BigDecimal::from(*n),
            Form::Decimal(d) => (**d).clone(),
        }
    }
}

/// The digits without a point, and the number of decimal places.
type Scaled = (BigInt, i64);

fn sum((a, a_scale): Scaled, (b, b_scale): Scaled) -> Scaled {
    let scale = a_scale.max(b_scale);
    let aligned = |digits: BigInt, own: i64| digits * power_of_ten(scale.abs_diff(own));
    (aligned(a, a_scale) + aligned(b, b_scale), scale)
}

fn power_of_ten(exponent: u64) -> BigInt {
    BigInt::from(10).pow(u32::try_from(exponent).unwrap_or(u32::MAX))
}

/// The number of decimal digits, or a little less.
fn digits(number: &BigInt) -> u64 {
    number.bits() * 3 / 10
}

impl FromStr for Number {
    type Err = NumberError;

    /// Reads an optional sign, digits with at most one point, and an optional exponent.
    fn from_str(text: &str) -> Result<Number, NumberError> {
        let not_a_number = || NumberError::NotANumber(text.chars().take(100).collect());
        if text.len() as u64 > 2 * Number::DIGITS_MAX {
            return Err(NumberError::TooLong);
        }
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (unsigned, None),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(not_a_number());
        }
        if let Some(exponent) = exponent {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || !all_digits(digits) {
                return Err(not_a_number());
            }
            if digits.trim_start_matches('0').len() > 5 {
                return Err(NumberError::TooLong);
            }
        } else if !mantissa.contains('.')
            && let Ok(integer) = text.parse::<i64>()
        {
            return Ok(Number::from(integer));
        }
        Number::bounded(BigDecimal::from_str(text).map_err(|_unreadable| not_a_number())?)
    }
}

impl fmt::Display for Number {
    /// Prints without exponent, as numbers are written in an expression.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Integer(n) => n.fmt(f),
            Form::Decimal(d) => d.write_plain_string(f),
        }
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Default for Number {
    /// Zero.
    fn default() -> Number {
        Number::from(0)
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        match (&self.0, &other.0) {
            (Form::Integer(a), Form::Integer(b)) => a.cmp(b),
            _ => self.to_decimal().cmp(&other.to_decimal()),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_decimal().normalized().hash(state);
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Number {
        Number(Form::Integer(number))
    }
}

impl From<i32> for Number {
    fn from(number: i32) -> Number {
        Number::from(i64::from(number))
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Number {
        Number::from(i64::from(number))
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Number {
        i64::try_from(number).map_or_else(
            |_| Number(Form::Decimal(Box::new(BigDecimal::from(number)))),
            Number::from,
        )
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Number {
        Number::from(number as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(text: &str) -> Number {
        text.parse().unwrap()
    }

    #[test]
    fn a_number_is_printed_as_it_was_written_but_without_exponent() {
        for text in [
            "0",
            "-7",
            "1.10",
            "-1.111222333444555666777888999",
            "123456789012345678901234567890",
            "0.0001",
        ] {
            assert_eq!(n(text).to_string(), text);
        }
        assert_eq!(n("+7").to_string(), "7");
        assert_eq!(n("1e3").to_string(), "1000");
        assert_eq!(n("1e3").to_i64(), Some(1000));
        assert_eq!(n("1.5E-3").to_string(), "0.0015");
        assert_eq!(n("1e20").to_string(), "100000000000000000000");
    }

    #[test]
    fn equal_numbers_are_equal_however_they_are_written() {
        assert_eq!(n("1"), n("1.00"));
        assert_eq!(n("1e2"), n("100"));
        assert!(n("9223372036854775808") > n("9223372036854775807"));
        assert!(n("-0.1") < n("0"));
        assert_eq!(n("1.0").to_i64(), Some(1));
        assert_eq!(n("1.5").to_i64(), None);
        assert_eq!(n("9223372036854775808").to_i64(), None);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "", "-", ".", "1_000", "1e", "--1", "1.2.3", "AA", " 1", "NaN", "0x10", "1e+",
        ] {
            assert_eq!(
                text.parse::<Number>(),
                Err(NumberError::NotANumber(text.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn a_number_of_absurd_length_is_refused() {
        assert_eq!("1e999999999".parse::<Number>(), Err(NumberError::TooLong));
        assert_eq!("1e-99999".parse::<Number>(), Err(NumberError::TooLong));
        assert_eq!(
            "1".repeat(30_000).parse::<Number>(),
            Err(NumberError::TooLong)
        );
        let long = n(&"9".repeat(9_000));
        assert_eq!(long.times(&long), Err(NumberError::TooLong));
    }

    #[test]
    fn sums_and_products_are_exact_and_leave_the_small_form_when_they_must() {
        assert_eq!(
            n("9223372036854775807").plus(&n("1")).unwrap().to_string(),
            "9223372036854775808"
        );
        assert_eq!(n("3.1").times(&n("-7.1")).unwrap().to_string(), "-22.01");
        assert_eq!(n("1.5").times(&n("2")).unwrap().to_string(), "3.0");
        assert_eq!(
            n("-9223372036854775808").negated().unwrap().to_string(),
            "9223372036854775808"
        );
        assert_eq!(n("0.1").minus(&n("0.1")).unwrap().to_string(), "0.0");
    }

    #[test]
    fn numbers_keep_their_digits_and_are_printed_as_in_js7() {
        let text = |number: Result<Number, NumberError>| number.unwrap().to_text();
        assert_eq!(text(n("1.50").plus(&n("1.50"))), "3.00");
        assert_eq!(text(n("2.5").times(&n("2"))), "5.0");
        assert_eq!(text(n("100").times(&n("1.10"))), "110.00");
        assert_eq!(text(n("5").minus(&n("0.00"))), "5.00");
        assert_eq!(text(n("6.00").divided_by(&n("2"))), "3.00");
        assert_eq!(text(n("-1.50").negated()), "1.50");
        let small = n("0.0000000001");
        assert_eq!(text(small.times(&small)), "1E-20");
        assert_eq!(n("1e3").to_text(), "1E+3");
        assert_eq!(n("-1.25e9").to_text(), "-1.25E+9");
        assert_eq!(n("0.000001").to_text(), "0.000001");
        assert_eq!(n("0.0000012").to_text(), "0.0000012");
        assert_eq!(n("0.00000012").to_text(), "1.2E-7");
    }

    #[test]
    fn digits_survive_as_json() {
        for text in [
            "1E+3",
            "-1.25E+9",
            "1.50",
            "0.00",
            "7",
            "123456789012345678901234567890",
        ] {
            let json = serde_json::to_string(&n(text)).unwrap();
            let read: Number = serde_json::from_str(&json).unwrap();
            assert_eq!(read.to_text(), text, "{json}");
        }
    }

    #[test]
    fn a_quotient_has_34_digits_half_even() {
        let quotient = |a: &str, b: &str| n(a).divided_by(&n(b)).map(|q| q.to_string());
        assert_eq!(
            quotient("1", "3").unwrap(),
            "0.3333333333333333333333333333333333"
        );
        assert_eq!(
            quotient("2", "3").unwrap(),
            "0.6666666666666666666666666666666667"
        );
        assert_eq!(
            quotient("-2", "3").unwrap(),
            "-0.6666666666666666666666666666666667"
        );
        assert_eq!(quotient("6", "-2").unwrap(), "-3");
        assert_eq!(quotient("1", "8").unwrap(), "0.125");
        assert_eq!(
            quotient("1e100", "1e-100").unwrap(),
            format!("1{}", "0".repeat(200))
        );
        // Ties go to the even digit, and one more digit far behind breaks the tie.
        assert_eq!(
            quotient("10000000000000000000000000000000005", "10").unwrap(),
            "1000000000000000000000000000000000"
        );
        assert_eq!(
            quotient("10000000000000000000000000000000015", "10").unwrap(),
            "1000000000000000000000000000000002"
        );
        assert_eq!(
            quotient(
                "10000000000000000000000000000000005.000000000000000000000001",
                "10"
            )
            .unwrap(),
            "1000000000000000000000000000000001"
        );
        assert_eq!(quotient("1", "0"), Err(NumberError::DivisionByZero));
        assert_eq!(quotient("0", "0"), Err(NumberError::DivisionUndefined));
    }
}
