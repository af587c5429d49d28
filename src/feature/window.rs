//! Windows: how a feature's values come from events.
//!
//! ```text
//!   events    ·  ·   · ·      ·   ·     ·
//!   slides  |-----|-----|-----|-----|-----|   multiples of `slide` from the Unix epoch
//!   window        [ size = 3 slides )         emitted at its end, again at every slide
//! ```

use super::{Dtype, Duration, Element, entity};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How events become values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    pub event_type: String,
    pub function: WindowFunction,
    /// `value`, or a path below `metadata`. None = every event counts; only for `count`.
    pub field: Option<String>,
    /// A multiple of `slide`.
    pub size: Duration,
    pub slide: Duration,
    pub start: WindowStart,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum WindowFunction {
    Count,
    Sum,
    Mean,
    Min,
    Max,
    Stddev,
    Variance,
    First,
    Last,
    ApproxDistinct,
    Percentile {
        quantile: f64,
    },
    /// The `k` most frequent values; with `counts`, how often each came beside it.
    TopK {
        k: u32,
        counts: bool,
    },
}

/// What only some functions take, as members of a window's definition. None = not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<bool>,
}

/// Which events a windowed feature counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WindowStart {
    /// Also what the log still holds.
    #[default]
    Earliest,
    Now,
}

/// The field that functions run over when none is named.
pub const DEFAULT_FIELD: &str = "value";
/// The most values that `topk` may give.
const K_MAX: u32 = 100;
const SLIDE_MIN: Duration = Duration::from_secs(1);
/// Slides that are tried when none is given, largest first.
const USUAL_SLIDES: [Duration; 4] = [
    Duration::from_secs(86_400),
    Duration::from_secs(3_600),
    Duration::from_secs(300),
    Duration::from_secs(60),
];
/// Ratios of size to slide that a slide left out may give.
const USUAL_RATIOS: std::ops::RangeInclusive<i64> = 5..=360;

impl Window {
    /// The slide when none is given: the largest of 1 min, 5 min, 1 h and 1 d that divides the size with a ratio of 5 to
    /// 360, else the size itself.
    pub fn slide_for(size: Duration) -> Duration {
        let fits = |slide: &&Duration| {
            size.micros() % slide.micros() == 0 && USUAL_RATIOS.contains(&(size.micros() / slide.micros()))
        };
        *USUAL_SLIDES.iter().find(fits).unwrap_or(&size)
    }

    /// Checks the window of a feature of this dtype; `ratio_max` bounds size / slide. An error is the offending part
    /// and what is wrong with it.
    pub fn check(&self, dtype: Dtype, ratio_max: i64) -> Result<(), (&'static str, String)> {
        let (size, slide) = (self.size.micros(), self.slide.micros());
        if self.slide < SLIDE_MIN {
            return Err(("slide", format!("a slide lasts at least {SLIDE_MIN}, not {}", self.slide)));
        }
        if size == 0 || size % slide != 0 {
            return Err((
                "size",
                format!("the size {} is not a multiple of the slide {}", self.size, self.slide),
            ));
        }
        if size / slide > ratio_max {
            let message = format!("size / slide is {}, over the limit of {ratio_max}", size / slide);
            return Err(("slide", message));
        }
        entity::check_id(&self.event_type).map_err(|_| {
            ("event_type", "an event type has 1 to 256 bytes and no control characters".to_owned())
        })?;
        if let Some(field) = &self.field {
            check_field(field).map_err(|why| ("field", why))?;
        } else if self.function != WindowFunction::Count {
            return Err(("field", format!("{} needs a field", self.function)));
        }
        self.function.check(dtype)
    }
}

fn check_field(field: &str) -> Result<(), String> {
    let path = match field.strip_prefix("metadata.") {
        _ if field == DEFAULT_FIELD => return Ok(()),
        Some(path) => path,
        None => {
            return Err(format!("{field:?} is not a field; use value or a path such as metadata.stock_code"));
        }
    };
    if path.split('.').any(str::is_empty) || path.len() > 256 || path.chars().any(char::is_control) {
        return Err(format!("{field:?} is not a path such as metadata.stock_code"));
    }
    Ok(())
}

impl WindowFunction {
    /// Its name in JSON and proto.
    pub fn name(self) -> &'static str {
        match self {
            WindowFunction::Count => "count",
            WindowFunction::Sum => "sum",
            WindowFunction::Mean => "mean",
            WindowFunction::Min => "min",
            WindowFunction::Max => "max",
            WindowFunction::Stddev => "stddev",
            WindowFunction::Variance => "variance",
            WindowFunction::First => "first",
            WindowFunction::Last => "last",
            WindowFunction::ApproxDistinct => "approx_distinct",
            WindowFunction::Percentile { .. } => "percentile",
            WindowFunction::TopK { .. } => "topk",
        }
    }

    /// The function of a name with its parameters; those of other functions are refused. An error is the offending part
    /// and what is wrong with it.
    pub fn parse(name: &str, given: Parameters) -> Result<Self, (&'static str, String)> {
        let function = match name {
            "count" => WindowFunction::Count,
            "sum" => WindowFunction::Sum,
            "mean" => WindowFunction::Mean,
            "min" => WindowFunction::Min,
            "max" => WindowFunction::Max,
            "stddev" => WindowFunction::Stddev,
            "variance" => WindowFunction::Variance,
            "first" => WindowFunction::First,
            "last" => WindowFunction::Last,
            "approx_distinct" => WindowFunction::ApproxDistinct,
            "percentile" => WindowFunction::Percentile {
                quantile: given
                    .quantile
                    .ok_or(("quantile", "percentile needs a quantile, such as 0.95".to_owned()))?,
            },
            "topk" => WindowFunction::TopK {
                k: given.k.ok_or(("k", format!("topk needs k, how many values to give: 1 to {K_MAX}")))?,
                counts: given.counts.unwrap_or_default(),
            },
            _ => {
                return Err((
                    "function",
                    format!(
                        "{name:?} is not a function; use count, sum, mean, min, max, stddev, variance, first, last, \
                         approx_distinct, percentile or topk"
                    ),
                ));
            }
        };
        let own = function.parameters();
        for (parameter, is_given, is_own, owner) in [
            ("quantile", given.quantile.is_some(), own.quantile.is_some(), "percentile"),
            ("k", given.k.is_some(), own.k.is_some(), "topk"),
            ("counts", given.counts.is_some(), own.counts.is_some(), "topk"),
        ] {
            if is_given && !is_own {
                return Err((parameter, format!("only {owner} takes {parameter}; {name} does not")));
            }
        }
        Ok(function)
    }

    /// Its parameters, as [`WindowFunction::parse`] takes them.
    pub fn parameters(self) -> Parameters {
        match self {
            WindowFunction::Percentile { quantile } => {
                Parameters { quantile: Some(quantile), ..Parameters::default() }
            }
            WindowFunction::TopK { k, counts } => {
                Parameters { k: Some(k), counts: Some(counts), ..Parameters::default() }
            }
            _ => Parameters::default(),
        }
    }

    /// Checks its parameters, and that it can give this dtype.
    fn check(self, dtype: Dtype) -> Result<(), (&'static str, String)> {
        match self {
            WindowFunction::Percentile { quantile } if !(0.0..=1.0).contains(&quantile) => {
                return Err(("quantile", format!("a quantile is between 0 and 1; {quantile} is not")));
            }
            WindowFunction::TopK { k, .. } if !(1..=K_MAX).contains(&k) => {
                return Err(("k", format!("k is between 1 and {K_MAX}; {k} is not")));
            }
            _ => {}
        }
        let fitting = self.dtypes();
        if !fitting.contains(&dtype) {
            let names: Vec<_> = fitting.iter().map(|dtype| dtype.name()).collect();
            let message = format!("{self} gives {}; it cannot give {dtype}", names.join(" or "));
            return Err(("function", message));
        }
        Ok(())
    }

    /// What it can give.
    fn dtypes(self) -> &'static [Dtype] {
        use WindowFunction::*;
        match self {
            Count | ApproxDistinct => &[Dtype::Int64],
            Sum | Min | Max => &[Dtype::Int64, Dtype::Float64],
            First | Last => &[Dtype::Int64, Dtype::Float64, Dtype::String, Dtype::Bool],
            Mean | Stddev | Variance | Percentile { .. } => &[Dtype::Float64],
            TopK { counts: true, .. } => &[Dtype::Json],
            TopK { counts: false, .. } => &[
                Dtype::List(Element::Bool),
                Dtype::List(Element::Int64),
                Dtype::List(Element::String),
                Dtype::List(Element::Timestamp),
            ],
        }
    }
}

/// What follows the field in a message: `, k 10`.
impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parameters { quantile, k, counts } = self;
        quantile.map_or(Ok(()), |quantile| write!(f, ", quantile {quantile}"))?;
        k.map_or(Ok(()), |k| write!(f, ", k {k}"))?;
        counts.filter(|counts| *counts).map_or(Ok(()), |_| write!(f, ", with counts"))
    }
}

impl fmt::Display for WindowFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl WindowStart {
    pub fn name(self) -> &'static str {
        match self {
            WindowStart::Earliest => "earliest",
            WindowStart::Now => "now",
        }
    }
}

impl FromStr for WindowStart {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "earliest" => Ok(WindowStart::Earliest),
            "now" => Ok(WindowStart::Now),
            _ => Err(format!("{name:?} is not a start; use earliest or now")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(size: &str, slide: &str) -> Window {
        Window {
            event_type: "purchase".into(),
            function: WindowFunction::Sum,
            field: Some(DEFAULT_FIELD.into()),
            size: size.parse().unwrap(),
            slide: slide.parse().unwrap(),
            start: WindowStart::Earliest,
        }
    }

    #[test]
    fn slides_left_out() {
        for (size, slide) in [
            ("5m", "1m"),
            ("4m", "4m"),
            ("25m", "5m"),
            ("24m", "1m"),
            ("1h", "5m"),
            ("5h", "1h"),
            ("1d", "1h"),
            ("7d", "1d"),
            ("400d", "400d"),
            ("90s", "90s"),
            ("6h", "1h"),
        ] {
            let size: Duration = size.parse().unwrap();
            assert_eq!(Window::slide_for(size).to_string(), slide, "{size}");
        }
    }

    #[test]
    fn sizes_at_their_bounds() {
        let check = |size, slide| window(size, slide).check(Dtype::Float64, 360).map_err(|(part, _)| part);
        assert_eq!(check("360s", "1s"), Ok(()));
        assert_eq!(check("361s", "1s"), Err("slide"));
        assert_eq!(check("5s", "999ms"), Err("slide"));
        assert_eq!(check("5m", "2m"), Err("size"));
        assert_eq!(check("0s", "1s"), Err("size"));
        assert_eq!(check("1m", "5m"), Err("size"));
    }

    #[test]
    fn functions_and_dtypes() {
        let check = |function, dtype| {
            let given = match function {
                "percentile" => Parameters { quantile: Some(0.5), ..Parameters::default() },
                "topk" => Parameters { k: Some(3), ..Parameters::default() },
                "topk with counts" => Parameters { k: Some(3), counts: Some(true), ..Parameters::default() },
                _ => Parameters::default(),
            };
            let name = function.split(' ').next().unwrap();
            let function = WindowFunction::parse(name, given).unwrap();
            Window { function, ..window("5m", "1m") }.check(dtype, 360).is_ok()
        };
        for (function, dtype, fits) in [
            ("count", Dtype::Int64, true),
            ("count", Dtype::Float64, false),
            ("sum", Dtype::Int64, true),
            ("sum", Dtype::Float32, false),
            ("last", Dtype::String, true),
            ("max", Dtype::String, false),
            ("mean", Dtype::Int64, false),
            ("percentile", Dtype::Float64, true),
            ("first", Dtype::List(Element::Bool), false),
            ("topk", Dtype::List(Element::Bool), true),
            ("topk", Dtype::List(Element::Int64), true),
            ("topk", Dtype::List(Element::String), true),
            ("topk", Dtype::List(Element::Timestamp), true),
            ("topk", Dtype::List(Element::Float64), false),
            ("topk", Dtype::List(Element::Bytes), false),
            ("topk", Dtype::Json, false),
            ("topk with counts", Dtype::Json, true),
            ("topk with counts", Dtype::List(Element::Int64), false),
        ] {
            assert_eq!(check(function, dtype), fits, "{function} as {dtype}");
        }
    }

    #[test]
    fn parameters_belong_to_functions() {
        let none = Parameters::default();
        let quantile = Parameters { quantile: Some(0.5), ..none };
        let k = Parameters { k: Some(10), ..none };
        let counts = Parameters { counts: Some(false), ..none };
        for (name, given, wrong) in [
            ("percentile", none, "quantile"),
            ("percentile", Parameters { k: Some(1), ..quantile }, "k"),
            ("topk", none, "k"),
            ("topk", Parameters { quantile: Some(0.5), ..k }, "quantile"),
            ("topk", counts, "k"),
            ("sum", quantile, "quantile"),
            ("sum", k, "k"),
            ("last", counts, "counts"),
            ("median", none, "function"),
        ] {
            assert_eq!(WindowFunction::parse(name, given).unwrap_err().0, wrong, "{name} {given:?}");
        }
        for (name, given) in
            [("percentile", quantile), ("topk", Parameters { counts: Some(true), ..k }), ("sum", none)]
        {
            let function = WindowFunction::parse(name, given).unwrap();
            assert_eq!((function.name(), function.parameters()), (name, given));
        }
        let check = |k| WindowFunction::TopK { k, counts: true }.check(Dtype::Json).is_ok();
        assert_eq!([0, 1, 100, 101].map(check), [false, true, true, false]);
    }
}
