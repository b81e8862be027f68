//! Laws: what is printed parses to the same; nothing panics.

use std::sync::Arc;

use proptest::prelude::*;

use crate::functions::Builtin;
use crate::node::{Lambda, Lookup, Node, Operator, Piece, Place};
use crate::{CommandLine, Expr, Nothing, Number, Symbol, Value};

fn name() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        3 => "[a-cA-Z_][a-z0-9_]{0,3}",
        1 => "(in|if|true|variable|label|toNumber|ä1|JobResource|missing)",
        1 => "[ -~]{1,5}",
        1 => ".{1,3}",
    ]
    .prop_map(Arc::from)
}

fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof!["[a-z ]{0,5}", "['\"$\\\\\r\n\t(){}`]{0,6}", ".{0,4}"]
        // Line ends are normalised when read, so that a text with CR LF can come from escapes only.
        .prop_map(Arc::from)
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof!["-?[0-9]{1,3}", "-?[0-9]{1,40}(\\.[0-9]{1,40})?"]
        .prop_map(|digits| digits.parse().unwrap())
}

fn operator() -> impl Strategy<Value = Operator> {
    prop::sample::select(vec![
        Operator::In,
        Operator::Matches,
        Operator::Or,
        Operator::And,
        Operator::Equal,
        Operator::NotEqual,
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Greater,
        Operator::GreaterOrEqual,
        Operator::Concat,
        Operator::Plus,
        Operator::Minus,
        Operator::Times,
        Operator::Divide,
        Operator::OrElse,
    ])
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        Just(Place::Arguments),
        Just(Place::Everywhere),
        name().prop_map(Place::Label),
        name().prop_map(Place::Job),
    ]
}

fn leaf() -> impl Strategy<Value = Node> {
    prop_oneof![
        Just(Node::Missing),
        any::<bool>().prop_map(Node::Boolean),
        number().prop_map(Node::Number),
        text().prop_map(Node::Text),
        name().prop_map(Node::Name),
        "[0-9]".prop_map(|digit| Node::Name(Arc::from(digit))),
        prop::sample::select(Symbol::ALL.to_vec()).prop_map(Node::Symbol),
        (
            "[a-z][a-z0-9.-]{0,3}[a-z](/[a-z])?",
            prop::option::of(name())
        )
            .prop_map(|(path, variable)| Node::JobResource {
                path: Arc::from(path),
                variable
            }),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    leaf().prop_recursive(5, 40, 4, |inner| {
        let nodes = || prop::collection::vec(inner.clone(), 0..4);
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            prop::collection::vec(
                prop_oneof![
                    text().prop_map(Piece::Text),
                    inner.clone().prop_map(Piece::Node)
                ],
                0..5
            )
            .prop_map(Node::interpolated),
            nodes().prop_map(Node::List),
            prop::collection::btree_map(
                prop_oneof![name(), Just(Arc::from(""))],
                inner.clone(),
                0..4
            )
            .prop_map(|fields| Node::Object(fields.into_iter().collect())),
            (prop::collection::btree_set(name(), 0..3), inner.clone()).prop_map(
                |(parameters, body)| {
                    let depth = body.depth();
                    Node::Function(Arc::new(Lambda {
                        parameters: parameters.into_iter().collect(),
                        body,
                        depth,
                    }))
                }
            ),
            (place(), inner.clone(), prop::option::of(inner.clone())).prop_map(
                |(place, key, default)| Node::Lookup(Box::new(Lookup {
                    place,
                    key,
                    default
                }))
            ),
            (
                prop::sample::select(Builtin::ALL.to_vec()),
                prop::collection::vec(inner.clone(), 3),
                any::<u8>()
            )
                .prop_map(|(builtin, nodes, given)| {
                    let is_given = |i: usize| i < builtin.required() || given & (1 << i) != 0;
                    let mut arguments: Vec<_> = nodes
                        .into_iter()
                        .take(builtin.parameters().len())
                        .enumerate()
                        .map(|(i, node)| is_given(i).then_some(node))
                        .collect();
                    while arguments.last().is_some_and(Option::is_none) {
                        arguments.pop();
                    }
                    Node::Call(builtin, arguments)
                }),
            (boxed(), name()).prop_map(|(node, name)| Node::Field(node, name)),
            (boxed(), nodes()).prop_map(|(node, arguments)| Node::Apply(node, arguments)),
            boxed().prop_map(Node::Not),
            boxed().prop_map(Node::Negative),
            boxed().prop_map(Node::OrMissing),
            (operator(), inner.clone(), inner.clone())
                .prop_map(|(sign, left, right)| Node::binary(sign, left, right)),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|parts| Node::If(Box::new(parts))),
        ]
    })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Missing),
        any::<bool>().prop_map(Value::Boolean),
        number().prop_map(Value::Number),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 30, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>().prop_map(Arc::from), inner, 0..4)
                .prop_map(Value::from),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_printed_tree_parses_to_the_same_tree(node in node()) {
        let expr = Expr::of_node(node);
        let parsed = Expr::parse(expr.source());
        prop_assert!(parsed.is_ok(), "{}: {parsed:?}", expr.source());
        let parsed = parsed.unwrap();
        prop_assert_eq!(parsed.node(), expr.node(), "{}", expr.source());
    }

    #[test]
    fn a_printed_value_evaluates_to_the_same_value(value in value()) {
        let printed = value.to_string();
        let evaluated = Expr::parse(&printed).map(|expr| expr.eval(&Nothing));
        prop_assert_eq!(evaluated, Ok(Ok(value)), "{}", printed);
    }

    #[test]
    fn a_value_survives_json(value in value()) {
        let json = value.to_json_string().unwrap();
        let back = Value::from_json_str(&json).unwrap();
        prop_assert_eq!(back.to_string(), value.to_string());
        prop_assert_eq!(back, value);
    }

    #[test]
    fn evaluation_never_panics(node in node()) {
        drop(Expr::of_node(node).eval(&Nothing));
    }

    #[test]
    fn no_source_panics(source in "([a-c$'\"`(){}\\[\\].,:=!<>+*/?&| \n0-9-]|in|if|then|else|=>|now\\(|variable\\(|min\\(|x => |\\$x){0,20}") {
        if let Err(error) = Expr::parse(&source) {
            error.draw(&source, "somewhere");
        }
        if let Err(error) = CommandLine::parse(&source) {
            error.draw(&source, "somewhere");
        }
    }

    #[test]
    fn no_text_panics(source in any::<String>()) {
        if let Err(error) = Expr::parse(&source) {
            error.draw(&source, "somewhere");
        }
        drop(CommandLine::parse(&source));
        drop(Value::from_json_str(&source));
        drop(source.parse::<Number>());
    }

    #[test]
    fn arithmetic_is_exact(a in any::<i64>(), b in any::<i64>()) {
        let [a_number, b_number] = [a, b].map(Number::from);
        prop_assert_eq!(a_number.plus(&b_number).unwrap().to_string(), (i128::from(a) + i128::from(b)).to_string());
        prop_assert_eq!(a_number.minus(&b_number).unwrap().to_string(), (i128::from(a) - i128::from(b)).to_string());
        prop_assert_eq!(a_number.times(&b_number).unwrap().to_string(), (i128::from(a) * i128::from(b)).to_string());
        prop_assert_eq!(a_number.cmp(&b_number), a.cmp(&b));
    }
}
