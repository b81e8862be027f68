//! Hostile sources and runaway evaluations end in a message.
//! The stack of a test thread (2 MiB) is the bound that the limits must keep.

use std::sync::Arc;

use crate::{Answer, Expr, Nothing, Scope, Value};

fn failure(source: &str) -> String {
    match Expr::parse(source) {
        Err(error) => error.message,
        Ok(expr) => expr
            .eval(&Nothing)
            .expect_err("evaluates")
            .message()
            .to_owned(),
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{a:", "1", "}"),
        ("-(", "1", ")"),
        ("!(", "true", ")"),
        ("x => ", "1", ""),
        ("if true then ", "1", " else 2"),
        ("\"$(", "1", ")\""),
        ("1 || 1 && 1 == 1 < 1 + 1 * 1 ? (", "1", ")"),
        ("toNumber(", "1", ")"),
        ("variable(", "1", ")"),
    ] {
        let nested =
            |depth: usize| format!("{}{middle}{}", open.repeat(depth), close.repeat(depth));
        assert_eq!(
            failure(&nested(100_000)),
            "The expression is nested too deeply",
            "{open}"
        );
        let deepest = Expr::parse(&nested(59)).unwrap();
        drop(deepest.eval(&Nothing));
        assert_eq!(Expr::parse(&deepest.to_string()), Ok(deepest));
    }
    assert!(Expr::parse(&"((((a, b".repeat(10_000)).is_err());
    assert!(Expr::parse(&"'".repeat(99_999)).is_err());
}

#[test]
fn long_chains_are_refused_and_the_longest_one_evaluates() {
    for (start, link) in [
        ("1", "+1"),
        ("$x", ".a"),
        ("$x", "(0)"),
        ("$x", " ? $x"),
        ("true", " && true"),
    ] {
        let chain = |length: usize| format!("{start}{}", link.repeat(length));
        assert!(
            failure(&chain(100_000)).contains("too long a chain"),
            "{link}"
        );
        let longest = Expr::parse(&chain(499)).unwrap();
        drop(longest.eval(&Nothing));
        assert_eq!(Expr::parse(&longest.to_string()), Ok(longest));
    }
    let ladder = |length: usize| format!("{}2", "if false then 1 else ".repeat(length));
    assert!(failure(&ladder(10_000)).contains("too long a chain"));
    assert_eq!(
        Expr::parse(&ladder(499)).unwrap().eval(&Nothing),
        Ok(Value::from(2))
    );
}

#[test]
fn the_deepest_evaluation_keeps_to_the_stack() {
    // Functions and interpolations have the largest frames.
    let one = "\"$((x => {a: [if true then toNumber($x ? 1) else 2](0)}.a)(";
    let source = format!("{}1{}", one.repeat(20), "))\"".repeat(20));
    let expr = Expr::parse(&source).unwrap();
    drop(expr.eval(&Nothing));
}

#[test]
fn a_function_that_applies_itself_ends() {
    assert!(failure("(f => $f($f))(f => $f($f))").contains("nested too deeply"));
    assert!(
        failure("(f => [$f($f), $f($f)])(f => [$f($f)?, $f($f)?, $f($f)?])")
            .contains("too many steps")
    );
    assert!(
        failure("(f => \"$($f($f))\")(f => \"$((x => $f($f))(1))\")").contains("nested too deeply")
    );
}

#[test]
fn a_variable_that_is_defined_by_itself_ends() {
    struct Circular(Expr);
    impl Scope for Circular {
        fn named_value(&self, _name: &str) -> Answer {
            Some(self.0.eval(self))
        }
    }
    for source in ["$x", "[1 + \"$($x ++ 'a')\"]", "(y => $y)($x)"] {
        let circular = Circular(Expr::parse(source).unwrap());
        let error = circular.0.eval(&circular).unwrap_err();
        assert!(error.message().contains("nested too deeply"), "{error}");
    }
}

#[test]
fn growth_is_bounded() {
    let compose = |function: &str, seed: &str, times: usize| {
        let applied = (0..times).fold(seed.to_owned(), |inner, _| format!("$f({inner})"));
        format!("(f => {applied})({function})")
    };
    assert!(failure(&compose("s => $s ++ $s", "'0123456789abcdef'", 40)).contains("longer than"));
    assert!(failure(&compose("s => \"$s$s$s\"", "'0123456789abcdef'", 40)).contains("longer than"));
    assert!(failure(&compose("s => [$s, $s]", "1", 40)).contains("too many steps"));
    assert!(failure(&compose("s => {a: $s, b: $s}", "1", 40)).contains("too many steps"));
    assert!(failure(&compose("s => $s ++ $s", "[1, 2]", 40)).contains("too many steps"));
    assert!(failure(&compose("n => $n * $n", "12345", 40)).contains("digits"));
    assert!(
        failure(&compose(
            "s => replaceAll($s, '.+', '$0$0$0$0')",
            "'0123'",
            40
        ))
        .contains("longer than")
    );
    assert!(failure(&compose("s => mkString([$s, $s, $s])", "'0123'", 40)).contains("longer than"));
}

/// Each of these expressions would take minutes to days if every step had the same cost.
#[test]
fn slow_operations_cost_many_steps() {
    let million = "a".repeat(1_000_000);
    let digits = "7".repeat(4_900);
    let numbers: Vec<Value> = vec![Value::Number(digits.parse().unwrap()); 5000];
    let patterns: Vec<Value> = (0..5000)
        .map(|n| Value::from(format!("(?:[a-z{n}]{{1,90}}|x){{1,90}}")))
        .collect();
    let scope: crate::NamedValues = [
        (Arc::from("text"), Value::from(million.as_str())),
        (Arc::from("numbers"), Value::from(numbers)),
        (Arc::from("patterns"), Value::from(patterns)),
    ]
    .into();
    let every = |list: &str, step: &str, times: usize| {
        let steps: Vec<_> = (0..times).map(|n| format!("$f(${list}({n}))")).collect();
        format!("(f => [{}])(x => {step})", steps.join(", "))
    };
    for source in [
        "replaceAll($text, '(a*b)?', 'x')".to_owned(),
        "replaceAll($text, 'a(a*b)?', 'x')".to_owned(),
        "replaceAll($text, 'a?(.{0,50}z)?', '')".to_owned(),
        every("numbers", "($x * $x / 3) * $x", 4_900),
        every("numbers", "\"$x$x\"", 4_900),
        every("numbers", "$x.mkString", 4_900),
        every("numbers", "$x matches 'a'", 4_900),
        every("numbers", "$x < $x + 1", 4_900),
        every("patterns", "'abc' matches $x", 4_900),
        every("patterns", "replaceAll('abc', $x, '')", 4_900),
    ] {
        let error = match Expr::parse(&source) {
            Ok(expr) => expr.eval(&scope).unwrap_err(),
            Err(error) => panic!("{error}: {}", &source[..source.len().min(80)]),
        };
        let told = error.message();
        assert!(
            told.contains("too many steps") || told.contains("digits"),
            "{told}: {}",
            &source[..source.len().min(80)]
        );
    }
}

#[test]
fn evaluations_can_share_one_budget() {
    let expr = Expr::parse("[1, 2, 3]").unwrap();
    let ask = |times: usize| (0..times).try_for_each(|_| expr.eval(&Nothing).map(drop));
    assert!(crate::in_one_budget(1, || ask(100)).is_ok());
    let error = crate::in_one_budget(1, || ask(1_000_000)).unwrap_err();
    assert!(error.message().contains("too many steps"));
    assert!(ask(10_000).is_ok(), "each has its own budget outside");
}

#[test]
fn a_large_but_honest_text_is_within_the_budget() {
    let text = "some words, ".repeat(50_000);
    let scope: crate::NamedValues = [(Arc::from("x"), Value::from(text.as_str()))].into();
    let replaced = Expr::parse("replaceAll($x, '[aeiou]', '_')")
        .unwrap()
        .eval(&scope)
        .unwrap();
    assert_eq!(replaced.as_str().map(str::len), Some(text.len()));
}

#[test]
fn a_value_nested_too_deeply_to_be_read_again_is_not_made() {
    let nested = (0..Value::NESTING_MAX).fold(Value::from(1), |inner, _| Value::from(vec![inner]));
    let scope: crate::NamedValues = [(Arc::from("x"), nested)].into();
    assert!(Expr::parse("$x(0)").unwrap().eval(&scope).is_ok());
    let deeper = Expr::parse("[$x]").unwrap().eval(&scope).unwrap_err();
    assert!(deeper.message().contains("nested deeper than"), "{deeper}");
}

#[test]
fn each_evaluation_has_its_own_budget() {
    let expr = Expr::parse("(x => $x ++ 'a')('b')").unwrap();
    for _ in 0..10_000 {
        assert_eq!(expr.eval(&Nothing), Ok(Value::from("ba")));
    }
}
