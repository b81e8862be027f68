//! Expressions and what they yield, as tables.
//! A row is `(expression, result)`. The result is an expression for the expected value; `error M` expects a failure
//! whose message contains M; `syntax` expects that the source is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Answer, At, EvalError, Expr, Scope, Symbol, Value};

/// An order as seen from one of its instructions.
struct Harbour;

impl Scope for Harbour {
    fn named_value(&self, name: &str) -> Answer {
        let json = match name {
            "n" => "1",
            "seven" => "7",
            "name" => "\"NAME\"",
            "flag" => "true",
            "gone" => "null",
            "any name" => "\"quoted\"",
            "if" => "\"keyword\"",
            "1" => "\"group\"",
            "list" => r#"[-1, 111, {"elem": ["CONTENT"]}, ["DEEP"]]"#,
            "empty" => "[]",
            "obj" => r#"{"inner": {"a": 1}, "gone": null, "in": 2, "toNumber": 3, "b-c": 4}"#,
            "js7TryCount" => "3",
            "broken" => return Some(Err(EvalError::new("BROKEN"))),
            _ => return None,
        };
        Some(Ok(Value::from_json_str(json).unwrap()))
    }

    fn argument(&self, name: &str) -> Answer {
        (name == "ARG").then(|| Ok(Value::from("arg")))
    }

    fn variable_at(&self, name: &str, at: At<'_>) -> Answer {
        match (name, at) {
            ("KEY", At::Label("L")) => Some(Ok(Value::from("ONE"))),
            ("KEY", At::Label("a b")) => Some(Ok(Value::from("SPACE"))),
            ("KEY", At::Job("J")) => Some(Ok(Value::from("TWO"))),
            ("returnCode", At::Label("L")) => Some(Ok(Value::from(1))),
            _ => None,
        }
    }

    fn symbol(&self, symbol: Symbol) -> Answer {
        match symbol {
            Symbol::OrderId => Some(Ok(Value::from("S"))),
            Symbol::TimedOut => Some(Ok(Value::Boolean(false))),
            Symbol::Workflow => Some(Ok(Value::from(BTreeMap::from([(
                Arc::from("timezone"),
                Value::from("Europe/Berlin"),
            )])))),
            Symbol::ControllerId
            | Symbol::WorkflowPath
            | Symbol::WorkflowPosition
            | Symbol::Label
            | Symbol::Job
            | Symbol::TryCount
            | Symbol::MaxTries => None,
        }
    }

    fn job_resource(&self, path: &str, variable: Option<&str>) -> Answer {
        match (path, variable) {
            ("res" | "a/b-c.d", Some("name")) => Some(Ok(Value::from("rv"))),
            ("res", Some("any name")) => Some(Ok(Value::from("any"))),
            ("res", None) => Some(Ok(Value::from(BTreeMap::from([(
                Arc::from("name"),
                Value::from("rv"),
            )])))),
            _ => None,
        }
    }

    fn env(&self, name: &str) -> Option<Option<Arc<str>>> {
        Some((name == "PATH").then(|| Arc::from("/bin")))
    }

    fn now(&self) -> Option<i64> {
        Some(4_102_491_600_000) // 2100-01-01T13:00:00Z
    }

    fn scheduled_for(&self) -> Option<Option<i64>> {
        Some(None)
    }

    fn to_file(&self, content: &str, pattern: &str) -> Answer {
        Some(Ok(Value::from(format!(
            "/tmp/{}:{content}",
            pattern.replace('*', "1")
        ))))
    }

    fn subagent_ids(&self, bundle: Option<&str>) -> Answer {
        Some(Ok(Value::from(vec![Value::from(bundle.unwrap_or("all"))])))
    }

    fn unique_order_id(&self, pattern: &str) -> Answer {
        Some(crate::CounterPattern::parse(pattern).map(|pattern| Value::from(pattern.text_of(1))))
    }
}

fn check(rows: &[(&str, &str)]) {
    for (source, expected) in rows {
        let parsed = Expr::parse(source);
        if *expected == "syntax" {
            assert!(parsed.is_err(), "{source} is accepted as {parsed:?}");
            continue;
        }
        let expr = parsed.unwrap_or_else(|error| panic!("{}", error.draw(source, "table")));
        assert_eq!(
            Expr::parse(&expr.to_string()).as_ref(),
            Ok(&expr),
            "{source} printed as {expr}"
        );
        let result = expr.eval(&Harbour);
        if let Some(message) = expected.strip_prefix("error ") {
            let error = result.expect_err(source);
            assert!(error.message().contains(message), "{source}: {error}");
        } else {
            let wanted = Expr::parse(expected).unwrap().eval(&Harbour);
            assert_eq!(result, wanted, "{source}");
        }
    }
}

#[test]
fn ex_01_numbers_and_arithmetic() {
    check(&[
        ("7", "7"),
        ("-7", "-7"),
        ("+7", "7"),
        ("100 + 2 * 3 - 12 / 3", "102"),
        ("3 * 7", "21"),
        ("-3 * -7", "21"),
        ("-3 + -7", "-10"),
        ("3.1 * -7.1", "-22.01"),
        ("1 / 3", "0.3333333333333333333333333333333333"),
        ("6 / -2", "-3"),
        ("1 / 0", "error ArithmeticException: Division by zero"),
        ("0 / 0", "error ArithmeticException: Division undefined"),
        ("$n + -3", "-2"),
        ("$n+-3", "-2"),
        ("$n-3", "-2"),
        ("$n + \"3\"", "error number expected but string \"3\""),
        ("$n - \"3\"", "error number expected but string \"3\""),
        ("-(1)", "-1"),
        ("-(-1)", "1"),
        ("-$n", "-1"),
        ("- 1", "syntax"),
        ("- -1", "syntax"),
        ("--1", "syntax"),
        ("- $n", "-1"),
        ("-!true", "syntax"),
        ("1e3", "syntax"),
        ("7a", "syntax"),
        ("1.", "syntax"),
        (".5", "syntax"),
        ("10 - 4 - 3", "3"),
        ("24 / 4 / 2", "3"),
        ("$gone + 1", "missing"),
        ("1 + $gone", "missing"),
        ("'a' + missing", "missing"),
        ("-missing", "missing"),
        ("-'a'", "error number expected but string \"a\""),
        ("min(3, 2*2)", "3"),
        ("max(3, 2*2)", "4"),
        ("max(b=7, a=9)", "9"),
        ("min(\"a\", true)", "error number expected but string \"a\""),
        ("min(1, missing)", "missing"),
        ("min(1)", "syntax"),
        ("min(1, 2, 3)", "syntax"),
        ("min(1, c=3)", "syntax"),
        ("min(1, a=3)", "syntax"),
        ("toNumber('123')", "123"),
        ("toNumber('-1.5e2')", "-150"),
        ("toNumber('AA')", "error Not a valid number: AA"),
        ("toNumber(missing)", "missing"),
        ("toNumber(7)", "7"),
        ("toNumber([])", "error number expected but list []"),
        ("'12'.toNumber + 1", "13"),
        ("9223372036854775807 + 1", "9223372036854775808"),
    ]);
    let long = "-1.111222333444555666777888999";
    assert_eq!(
        Expr::parse(long)
            .unwrap()
            .eval_text(&Harbour)
            .unwrap()
            .as_ref(),
        long
    );
}

#[test]
fn ex_03_booleans_short_circuit_and_missing() {
    check(&[
        ("true && missing", "missing"),
        ("missing && true", "missing"),
        ("false && missing", "false"),
        ("missing && false", "missing"),
        ("false && error('E')", "false"),
        ("true && error('E')", "error E"),
        ("true || missing", "true"),
        ("missing || true", "missing"),
        ("false || missing", "missing"),
        ("true || error('E')", "true"),
        ("error('E') || true", "error E"),
        ("!false", "true"),
        ("! true", "false"),
        ("!(!true)", "true"),
        ("!!true", "syntax"),
        ("!missing", "missing"),
        ("!'x'", "error boolean expected but string \"x\""),
        ("1 && true", "error boolean expected but number 1"),
        ("true && 1", "error boolean expected but number 1"),
        ("$n >= 1 && !($n <= 9) && $n != 1", "false"),
        ("true || false && 3 == 4 < 5 + 6 * 7 ? 8", "true"),
        ("'1' == 1", "false"),
        ("'1' != 1", "true"),
        ("1.0 == 1", "true"),
        ("missing == missing", "true"),
        ("missing == 1", "false"),
        ("error('E') == 1", "error E"),
        ("[1, 'a'] == [1, 'a']", "true"),
        ("{a: 1, b: 2} == {b: 2, a: 1}", "true"),
        ("\"A\" < \"B\"", "true"),
        ("1 < 'a'", "error number expected but string \"a\""),
        (
            "true < false",
            "error number or string expected but boolean true",
        ),
        ("missing < 1", "missing"),
        ("2 >= 2 && 2 <= 2 && !(2 > 2) && !(2 < 2)", "true"),
        ("toBoolean('true')", "true"),
        ("toBoolean('false')", "false"),
        ("toBoolean(1)", "true"),
        ("toBoolean(0)", "false"),
        ("toBoolean(true)", "true"),
        ("'true'.toBoolean", "true"),
        ("toBoolean('yes')", "error Not a valid Boolean: yes"),
        ("toBoolean(2)", "error Not a valid Boolean: 2"),
        ("$n in [1, 2, 3]", "true"),
        ("4 in [1, 2, 3]", "false"),
        ("missing in [missing]", "true"),
        ("$n in missing", "missing"),
        ("$n in 7", "error list expected but number 7"),
        ("1 + if true then 2 else 3", "syntax"),
        ("1 + (if true then 2 else 3)", "3"),
        ("if true then 1 else 2", "1"),
        ("if false then 1 else if true then 2 else 3", "2"),
        ("if true then 1 else error('E')", "1"),
        ("if missing then 1 else 2", "missing"),
        ("if true then 1", "syntax"),
        ("impure(true)", "true"),
        (
            "true || false matches 'x'",
            "error string expected but boolean true",
        ),
    ]);
}

#[test]
fn ex_05_lists_objects_functions() {
    check(&[
        ("$list(0)", "-1"),
        ("${list}(0)", "-1"),
        ("$list(2).elem(0)", "'CONTENT'"),
        ("$list(3)(0)", "'DEEP'"),
        ("$list(4)", "error Index 4 out of range 0...3"),
        ("$list(-1)", "error Index -1 out of range 0...3"),
        ("$list(1e9)", "syntax"),
        (
            "$list(99999999999999999999)",
            "error Index 99999999999999999999 out of range 0...3",
        ),
        ("$list(1.5)", "error Rounding necessary"),
        ("$list(1.0)", "111"),
        ("$list(missing)", "missing"),
        ("$list('a')", "error number expected but string \"a\""),
        ("$list()", "error A list wants one index"),
        ("$empty(0)", "error Index 0 out of range 0...-1"),
        ("missing(0)", "missing"),
        ("7(0)", "error list or function expected but number 7"),
        ("[ 'A', missing, 7 ](1)", "missing"),
        ("[ 'A', missing, 7 ](2)", "7"),
        ("[ 'A', error('E') ]", "error E"),
        ("[1, 2,]", "[1, 2]"),
        ("[,]", "syntax"),
        ("[1 2]", "syntax"),
        ("{a: 'AAA', m: missing}.a", "'AAA'"),
        ("{a: 'AAA', m: missing}.m", "missing"),
        ("{a: 1}.b", "error Unknown field name: b"),
        ("{a: 1, a: 2}", "syntax"),
        ("{`a b`: 1}.`a b`", "1"),
        ("{in: 1}.in", "1"),
        ("{}.x?", "missing"),
        ("missing.x", "missing"),
        ("7.x", "error object expected but number 7"),
        ("3 + $obj.inner.a", "4"),
        ("${obj.inner.a} + 3", "4"),
        ("$obj.`b-c`", "4"),
        ("$obj.`toNumber`", "3"),
        ("$obj.gone ? 'default'", "'default'"),
        ("[1] ++ [2, 3]", "[1, 2, 3]"),
        ("[1] ++ 'a'", "error string expected but list [1]"),
        ("((a, b) => $a + 2 * $b)(1, 3)", "7"),
        (
            "((a, b) => $a + 2 * $b)(1)",
            "error wrong number of arguments",
        ),
        ("(x => y => $x - $y)(10)(3)", "7"),
        ("(x => (x => $x)(2) + $x)(1)", "3"),
        ("(() => 'none')()", "'none'"),
        ("(n => $n)(5) + $n", "6"),
        ("(a => $a) == (a => $a)", "true"),
        ("(a => $a) ++ \"\"", "error string expected but function"),
        ("(a, a) => 1", "syntax"),
        ("true => 1", "syntax"),
        ("x => ", "syntax"),
    ]);
}

#[test]
fn strings_and_interpolation() {
    check(&[
        ("'raw \\n $n'", "\"raw \\\\n \\$n\""),
        ("''it's''", "\"it's\""),
        ("'''two '' inside'''", "\"two '' inside\""),
        ("''", "\"\""),
        ("\"\"", "''"),
        ("if '' == '' then '' else 'x'", "\"\""),
        ("$name != ''", "true"),
        ("'' ++ 'a' ++ ''", "\" ++ 'a' ++ \""),
        ("\"\" ++ 'a' ++ \"\"", "'a'"),
        ("'' blank first, then it's''", "\" blank first, then it's\""),
        ("'a\r\nb'", "\"a\\nb\""),
        ("\"a\r\nb\\r\\n\"", "\"a\\nb\\r\\n\""),
        (r#""\\ \" \t \r \n \$""#, r#""\\ \" \t \r \n \$""#),
        (r#""\x""#, "syntax"),
        ("\"open", "syntax"),
        ("'open", "syntax"),
        ("\"100 $\"", "syntax"),
        (
            "\"$n-${n}-$(1 + $n)-${obj.inner.a}-$name\"",
            "'1-1-2-1-NAME'",
        ),
        ("\"$nname\"", "error No such named value: nname"),
        ("\"[$gone]\"", "'[]'"),
        ("\"$(\"nested $(\"deep\")\")!\"", "'nested deep!'"),
        ("\"$(if true then 'y' else 'n')\"", "'y'"),
        ("\"$list\"", "\"[-1, 111, {'elem':['CONTENT']}, ['DEEP']]\""),
        ("\"${\"", "syntax"),
        ("\"$(1\"", "syntax"),
        ("'a' ++ 1 ++ true", "'a1true'"),
        ("'a' ++ missing", "missing"),
        (
            "'ab' /* comment */ ++ // to the end of the line\n 'c'",
            "'abc'",
        ),
        ("1 /* open", "syntax"),
    ]);
}

#[test]
fn names_and_lookups() {
    check(&[
        ("$nobody", "error No such named value: nobody"),
        ("${n}", "1"),
        ("$`any name`", "'quoted'"),
        ("$if", "'keyword'"),
        ("$1", "'group'"),
        ("${1}", "'group'"),
        ("$", "syntax"),
        ("$``", "syntax"),
        ("$n $n", "syntax"),
        ("argument('ARG')", "'arg'"),
        ("argument(key='ARG')", "'arg'"),
        ("argument('n')", "error No such named value: n"),
        ("argument('n', default='D')", "'D'"),
        ("argument(default=1, key='n')", "1"),
        ("argument(key='n', label=L)", "syntax"),
        ("variable('n')", "1"),
        ("variable('KEY', label=L)", "'ONE'"),
        ("variable('KEY', label=`a b`)", "'SPACE'"),
        ("variable('KEY', label='a b')", "'SPACE'"),
        ("variable('KEY', job=J)", "'TWO'"),
        ("variable('KEY', job=\"J\")", "'TWO'"),
        ("variable('returnCode', label=L)", "1"),
        ("variable('KEY', label=X)", "error No such named value: KEY"),
        ("variable('NO', default='D')", "'D'"),
        ("variable('NO', 'D')", "'D'"),
        ("variable('n', default=error('E'))", "1"),
        ("variable('broken', default='D')", "error BROKEN"),
        ("variable(missing)", "missing"),
        ("variable(1)", "error string expected but number 1"),
        ("variable()", "syntax"),
        ("variable('a', label=L, job=J)", "syntax"),
        ("orderId", "'S'"),
        ("orderId()", "'S'"),
        ("timedOut", "false"),
        ("!timedOut()", "true"),
        ("workflow.timezone", "'Europe/Berlin'"),
        ("tryCount", "3"),
        ("maxTries", "error maxTries is not available here"),
        ("foo", "syntax"),
        ("foo(1)", "syntax"),
        ("then", "syntax"),
        ("JobResource:res:name", "'rv'"),
        ("JobResource:res:`any name`", "'any'"),
        ("JobResource:a/b-c.d:name ++ '!'", "'rv!'"),
        (
            "JobResource:res.name",
            "error No such named value: JobResource:res.name",
        ),
        ("(JobResource:res).name", "'rv'"),
        (
            "JobResource:R1:nope",
            "error No such named value: JobResource:R1:nope",
        ),
        ("JobResource:", "syntax"),
        ("jobResourceVariable('res', 'name')", "'rv'"),
        ("jobResourceVariable(missing, 'name')", "missing"),
        (
            "jobResourceVariable('res', 'nope')",
            "error No such named value: JobResource:res:nope",
        ),
        ("jobResourceVariables('res').name", "'rv'"),
    ]);
}

#[test]
fn fallbacks() {
    check(&[
        ("$nobody?", "missing"),
        ("$nobody ? 'D'", "'D'"),
        ("$gone ? 'D'", "'D'"),
        ("$n ? 'D'", "1"),
        ("$nobody ? $gone ? 'last'", "'last'"),
        ("$nobody ? -1", "-1"),
        ("$n? - 1", "0"),
        ("$n? == 1", "true"),
        ("$nobody? ? 7", "7"),
        ("$nobody??", "syntax"),
        ("$nobody ??", "syntax"),
        ("(1/0) ??", "syntax"),
        ("(1/0) ?? 2", "syntax"),
        ("$nobody ? error('E')", "error E"),
        ("[$nobody?, $n?]", "[missing, 1]"),
        ("if ($nobody?) == missing then 1 else 2", "1"),
        ("!$nobody ? true", "false"),
        ("2 * $nobody ? 3", "6"),
        ("1 / 0 ? 5", "error Division by zero"),
        ("(1 / 0) ? 5", "5"),
        ("$obj.nope ? 'D'", "'D'"),
        ("$list(9) ? 'D'", "'D'"),
    ]);
}

#[test]
fn text_functions() {
    check(&[
        ("substring('abcdef', 2)", "'cdef'"),
        ("substring('abcdef', 2, 4)", "'cd'"),
        ("substring(string='abc', end=1, start=0)", "'a'"),
        ("substring('äöü', 1, 2)", "'ö'"),
        ("substring('abc', 3)", "\"\""),
        ("substring('abc', 4)", "error Index 4 out of range 0...3"),
        ("substring('abc', 2, 1)", "error Index 1 out of range 2...3"),
        ("substring('abc', 0, 7)", "error Index 7 out of range 0...3"),
        ("substring('abc', -1)", "error Index -1 out of range"),
        ("substring('abc', 0.5)", "error Rounding necessary"),
        ("substring(missing, 0)", "missing"),
        (
            "substring('BATCH-A1' ++ '        ', 0, 7) == 'BATCH-A'",
            "true",
        ),
        ("replaceAll('a-b-c', '-', '+')", "'a+b+c'"),
        (
            "replaceAll('a1b22', '([a-z])([0-9]+)', '$2$1,')",
            "'1a,22b,'",
        ),
        ("replaceAll('abc', 'x*', '-')", "'-a-b-c-'"),
        ("replaceAll('x', 'x', '\\$1\\\\')", "'$1\\'"),
        ("replaceAll('ab', '(?<p>a)', '<${p}>')", "'<a>b'"),
        ("replaceAll('ab', '(a)', '$12')", "'a2b'"),
        ("replaceAll('ab', 'a', '$1')", "error No group 1"),
        ("replaceAll('ab', '(?=a)', '')", "error look-ahead"),
        (
            "replaceAll('ab', '[', '')",
            "error Invalid regular expression",
        ),
        ("replaceAll(missing, 'a', 'b')", "missing"),
        (
            "replaceAll(1, 'a', 'b')",
            "error string expected but number 1",
        ),
        (
            "match('#2026-01-02#x', '#([0-9]{4}-[0-9]{2}-[0-9]{2})#.*', '$1')",
            "'2026-01-02'",
        ),
        (
            "match('x2026', '[0-9]+', '$0')",
            "error x2026 does not match [0-9]+",
        ),
        ("match('x2026', '[0-9]+', '$0') ? 'none'", "'none'"),
        ("'abc' matches '[a-c]+'", "true"),
        ("'abcd' matches '[a-c]+'", "false"),
        ("missing matches ''", "true"),
        ("missing matches 'x'", "false"),
        ("1 matches '1'", "true"),
        ("7 matches ''", "false"),
        ("7 matches \"\"", "false"),
        ("[1] matches '1'", "error string expected but list [1]"),
        ("1 matches 1", "error string expected but number 1"),
        ("stripMargin('  |a\n   | b\n c')", "'a\n b\n c'"),
        ("'|x'.stripMargin", "'x'"),
        ("stripMargin(missing)", "missing"),
        ("mkString(['a', 1, true, missing])", "'a1true'"),
        ("['a', 'b'].mkString", "'ab'"),
        ("mkString('a')", "'a'"),
        ("mkString(missing)", "\"\""),
        (
            "mkString({a: 'x', b: {c: 5}})",
            "\"{'a':'x', 'b':{'c':5}}\"",
        ),
        ("\"$({a: 'x'})\"", "\"{'a':'x'}\""),
        ("{'a b': 1, \"c\": 2}.`a b`", "1"),
        ("{\"$n\": 1}", "syntax"),
        ("(1.50 + 1.50) ++ \"\"", "'3.00'"),
        ("\"1e3\".toNumber ++ \"\"", "'1E+3'"),
        ("mkString([x => 1])", "error string expected but function"),
        ("error('E' ++ 1)", "error E1"),
        ("error(7)", "error 7"),
        ("error()", "syntax"),
        ("error", "syntax"),
    ]);
}

#[test]
fn functions_that_look_around() {
    check(&[
        ("env('PATH')", "'/bin'"),
        ("env('NOPE')", "error No such environment variable: NOPE"),
        ("env('NOPE', 'D')", "'D'"),
        ("env('NOPE', env('PATH'))", "'/bin'"),
        ("env('PATH', error('E'))", "'/bin'"),
        ("env(missing)", "missing"),
        ("now(format='HH:mm', timezone='UTC') == '13:00'", "true"),
        ("now('yyyy')", "'2100'"),
        ("now('HH', 'Europe/Berlin')", "'14'"),
        ("now('HH', 'Nowhere')", "error Unknown time zone: Nowhere"),
        ("now('bb')", "error Unknown pattern letters bb"),
        ("scheduledOrEmpty(format='yyyy-MM-dd')", "\"\""),
        ("toFile('text')", "'/tmp/1:text'"),
        ("toFile('text', 'name-*.ext')", "'/tmp/name-1.ext:text'"),
        ("subagentIds()", "['all']"),
        ("subagentIds('BUN')", "['BUN']"),
        ("uniqueOrderId('LINK-%d')", "'LINK-1'"),
        (
            "uniqueOrderId('LINK')",
            "error Pattern wants exactly one %d: LINK",
        ),
    ]);
}

#[test]
fn what_a_scope_does_not_know_is_not_available() {
    for (source, message) in [
        ("$x", "No such named value: x"),
        ("orderId", "orderId is not available here"),
        ("env('X', 'D')", "The environment is not available here"),
        ("now('yyyy')", "The clock is not available here"),
        (
            "scheduledOrEmpty('yyyy')",
            "scheduledOrEmpty is not available here",
        ),
        ("toFile('x')", "toFile is not available here"),
        ("subagentIds()", "subagentIds is not available here"),
        ("uniqueOrderId('%d')", "uniqueOrderId is not available here"),
        ("JobResource:r", "No such named value: JobResource:r"),
    ] {
        let error = Expr::parse(source)
            .unwrap()
            .eval(&crate::Nothing)
            .unwrap_err();
        assert_eq!(error.message(), message, "{source}");
    }
}

#[test]
fn a_condition_wants_a_boolean_and_a_text_takes_whatever_has_one() {
    let expr = |source: &str| Expr::parse(source).unwrap();
    assert_eq!(expr("1 < 2").eval_bool(&Harbour), Ok(true));
    assert_eq!(
        expr("missing").eval_bool(&Harbour).unwrap_err().message(),
        "boolean expected but missing found"
    );
    assert!(expr("1").eval_string(&Harbour).is_err());
    assert_eq!(expr("1").eval_text(&Harbour).unwrap().as_ref(), "1");
    assert_eq!(
        expr("1 + 1").eval_number(&Harbour).unwrap().to_i64(),
        Some(2)
    );
    assert_eq!(expr("[1]").eval_list(&Harbour).unwrap().len(), 1);
}

#[test]
fn wi_16_fork_list_offers_element_and_index() {
    let offered = [Value::from("A"), Value::from(0)];
    let apply = |source: &str| {
        let function = Expr::parse(source)
            .unwrap()
            .eval_function(&Harbour)
            .unwrap();
        function
            .apply_to_first(&offered, &Harbour)
            .unwrap()
            .to_string()
    };
    assert_eq!(apply("(b) => $b"), "'A'");
    assert_eq!(apply("b => {}"), "{}");
    assert_eq!(apply("(b, i) => $i"), "0");
    assert_eq!(
        apply("(b, i) => { b: $b, seven: $seven }"),
        "{'b':'A', 'seven':7}"
    );
    let function = Expr::parse("(b, i) => 1")
        .unwrap()
        .eval_function(&Harbour)
        .unwrap();
    assert_eq!(
        function
            .apply(&offered[..1], &Harbour)
            .unwrap_err()
            .message(),
        "wrong number of arguments: 1 given, 2 expected"
    );
}
