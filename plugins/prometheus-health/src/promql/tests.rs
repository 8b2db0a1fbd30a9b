//! What is taken as PromQL, and what is told of the rest.

use super::*;

#[test]
fn what_prometheus_takes_is_taken_and_its_metrics_are_found() {
    for (text, metrics) in [
        ("up", vec!["up"]),
        (r#"sum by (le) (rate(a:b_bucket{job="x",le!~"1|2"}[5m]))"#, vec!["a:b_bucket"]),
        (
            r#"sum(rate(errors_total{code=~"5.."}[{{window}}])) / ignoring(code) group_left sum(rate(all_total[1h30m] offset -5m))"#,
            vec!["errors_total", "all_total"],
        ),
        (
            "histogram_quantile(0.95, sum(rate(h_bucket[5m:1m])) by (le)) > bool 1e-3",
            vec!["h_bucket"],
        ),
        ("(errors or vector(0)) / on() total @ end()", vec!["errors", "total"]),
        (r#"{__name__="odd.name", x='y'}"#, vec!["odd.name"]),
        (r#"{"odd.name", "x.y"=~`a\.b`} # trailing"#, vec!["odd.name"]),
        (
            r#"label_replace(up, "a", "$1", "b", "(.*)") unless sum without (c,) (down) == +Inf"#,
            vec!["up", "down"],
        ),
        ("-sum * 0x1F ^ .5", vec!["sum"]),
        ("topk(3, x) + time() - -1", vec!["x"]),
        ("x atan2 y and on (a) z", vec!["x", "y", "z"]),
    ] {
        let found = read(text).unwrap_or_else(|error| panic!("{text}: {}", error.told(text)));
        assert_eq!(
            found
                .selectors
                .iter()
                .map(|one| one.metric.clone().unwrap_or_default())
                .collect::<Vec<_>>(),
            metrics,
            "{text}"
        );
    }
}

#[test]
fn a_mistake_is_told_with_its_character() {
    for (text, told) in [
        ("", "character 1: it ends where an expression is expected"),
        ("sum(rate(x[5m])", "character 16: it ends where `)` is expected"),
        ("rate(x[5])", "character 8: found `5` where a duration"),
        ("x{a=b}", "character 5: found `b` where a quoted string"),
        ("x{a=\"b}", "character 5: the quoted string is not closed"),
        ("x{a \"b\"}", "character 5: found `\"b\"` where `=`"),
        ("x y", "character 3: found `y` where an operator"),
        ("x ++ / y", "character 6: found `/` where an expression"),
        ("{}", "character 2: a selector without a name"),
        ("x[5q]", "character 3: `5q` is neither"),
        ("ä", "character 1: `ä` has no place"),
        ("x{a=\"{{host}}\"}", "character 6: there is no placeholder `{{host}}`"),
        ("x{a=\"{{backends}}\"}", "character 6: `{{backends}}` is a regular expression"),
        ("x{a={{slot}}}", "character 5: `{{slot}}` is outside"),
        ("x{a=\"{{slot\"}", "character 6: `{{` has no `}}`"),
        ("x[{{windw}}]", "character 3: there is no placeholder"),
    ] {
        let error = read(text).expect_err(text).told(text);
        assert!(error.starts_with(told), "{text}: {error}");
    }
    let deep = format!("{}x{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(read(&deep).unwrap_err().message.contains("nested deeper"));
}

#[test]
fn only_one_selector_and_nothing_else_is_plain() {
    for (text, plain) in [
        ("up", true),
        (" up{job=\"x\"} # all", true),
        ("{__name__=\"up\"}", true),
        ("up[5m]", false),
        ("up offset 5m", false),
        ("up @ 1", false),
        ("(up)", false),
        ("-up", false),
        ("rate(up[5m])", false),
        ("up + 1", false),
        ("1", false),
    ] {
        assert_eq!(read(text).unwrap().plain, plain, "{text}");
    }
}
