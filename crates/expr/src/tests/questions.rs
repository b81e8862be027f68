//! What may be asked of an expression without evaluating it.

use crate::{Expr, Value};

fn expr(source: &str) -> Expr {
    Expr::parse(source).unwrap()
}

fn names(set: &std::collections::BTreeSet<std::sync::Arc<str>>) -> Vec<&str> {
    set.iter().map(|name| &**name).collect()
}

#[test]
fn a_pure_expression_asks_nothing_that_changes_without_the_order() {
    for pure in [
        "$flag",
        "orderId ++ tryCount",
        "1 + 1",
        "variable('x', label=L)",
        "scheduledOrEmpty('yyyy') == ''",
    ] {
        assert!(expr(pure).is_pure(), "{pure}");
    }
    for impure in [
        "now('HH') == '13'",
        "env('X')",
        "JobResource:r:x",
        "JobResource:r",
        "jobResourceVariable('r', 'x')",
        "jobResourceVariables('r')",
        "impure(1)",
        "toFile('')",
        "subagentIds()",
        "uniqueOrderId('%d')",
        "$js7EpochMilli",
        "variable('js7EpochSecond')",
    ] {
        assert!(!expr(impure).is_pure(), "{impure}");
        assert!(!expr(impure).is_constant(), "{impure}");
    }
}

#[test]
fn purity_looks_through_every_kind_of_node() {
    for around in [
        "!(X == 1)",
        "-(X)",
        "X?",
        "$a ? X",
        "[X]",
        "{a: X}",
        "\"$(X)\"",
        "x => X",
        "(X).field",
        "(X)(0)",
        "$list(X)",
        "if X then 1 else 2",
        "if true then X else 2",
        "if true then 1 else X",
        "variable('a', default=X)",
        "argument(X)",
        "toNumber(X)",
        "1 + X",
        "X in []",
    ] {
        assert!(
            !expr(&around.replace('X', "now('HH')")).is_pure(),
            "{around}"
        );
        assert!(expr(&around.replace('X', "$x")).is_pure(), "{around}");
    }
}

#[test]
fn a_constant_needs_no_scope() {
    for constant in [
        "1",
        "'a' ++ \"$(1)\"",
        "[1, {a: missing}]",
        "x => $x + 1",
        "error('E')",
        "(a => b => $a)(1)",
    ] {
        assert!(expr(constant).is_constant(), "{constant}");
    }
    for other in [
        "$x",
        "x => $y",
        "orderId",
        "argument('a')",
        "variable('a', label=L)",
        "scheduledOrEmpty('yy')",
    ] {
        assert!(!expr(other).is_constant(), "{other}");
        assert_eq!(expr(other).as_constant(), None);
    }
    assert_eq!(expr("1 + 1").as_constant(), Some(Ok(Value::from(2))));
}

#[test]
fn an_expression_knows_what_it_mentions() {
    let all = expr(
        "$a ++ \"${b.c} $(variable('d'))\" ++ (e => $e ++ $f)($g) ++ JobResource:r/1:v ++ jobResourceVariable('s', $h) \
         ++ variable('i', label=L) ++ variable('j', job=J) ++ jobResourceVariables($computed)",
    );
    assert_eq!(
        names(&all.named_values()),
        ["a", "b", "computed", "d", "f", "g", "h"]
    );
    assert_eq!(names(&all.job_resources()), ["r/1", "s"]);
    assert_eq!(names(&all.labels()), ["L"]);
    assert_eq!(names(&all.jobs()), ["J"]);
}

#[test]
fn an_expression_is_json_as_it_was_written() {
    let source = "1+1 // two";
    let json = serde_json::to_string(&expr(source)).unwrap();
    assert_eq!(json, format!("\"{source}\""));
    let back: Expr = serde_json::from_str(&json).unwrap();
    assert_eq!(back.source(), source);
    assert_eq!(back, expr("1 + 1"));
    assert_eq!(back.to_string(), "1 + 1");
    let error = serde_json::from_str::<Expr>("\"1 +\"")
        .unwrap_err()
        .to_string();
    assert!(error.contains("error in expression `1 +`"), "{error}");
}

#[test]
fn an_expression_can_be_made_from_a_value() {
    assert_eq!(Expr::quoted("it's").source(), "\"it's\"");
    assert_eq!(Expr::quoted("$x").source(), "'$x'");
    let value = Value::from_json_str(r#"{"a b":[1,null,"x"],"if":true}"#).unwrap();
    let constant = Expr::constant(value.clone());
    assert_eq!(constant.source(), "{`a b`: [1, missing, 'x'], if: true}");
    assert_eq!(constant.as_constant(), Some(Ok(value)));
}

#[test]
fn a_syntax_error_points_at_its_place() {
    for (source, span, message) in [
        ("1 + ", 4..4, "Unexpected end of the expression"),
        ("'ä' ++ foo", 8..11, "Unknown symbol: foo"),
        ("foo(1)", 0..3, "Unknown function: foo"),
        ("(1", 2..2, ") is expected here"),
        (
            "1 2",
            2..3,
            "Operator or end of the expression is expected here",
        ),
        ("a # b", 2..3, "Unexpected character '#'"),
        ("if 1 then 2", 11..11, "else is expected here"),
        ("\"a \\q\"", 3..4, "Unknown escape"),
        ("min(1)", 0..3, "Function min needs the argument b"),
        ("- 1", 0..1, "A minus sign must touch its number"),
        ("- -1", 2..3, "Only one sign is allowed"),
    ] {
        let error = Expr::parse(source).unwrap_err();
        assert!(error.message.starts_with(message), "{source}: {error}");
        assert_eq!(error.span, span, "{source}: {error}");
    }
}
