//! Registrations, features and feature sets on the wire.

mod proto;
mod sets;

pub use proto::{feature_to, features_to, filter_from, registered_to, registration_from, status_from};
pub use sets::{set_to, sets_to};

use crate::{
    error::{Error, Result},
    feature::{
        Window, WindowFunction,
        window::{DEFAULT_FIELD, Parameters},
    },
};

/// A window as it is asked for, before what is left out is filled in.
#[derive(Debug, Default)]
struct WindowParts {
    event_type: String,
    function: String,
    size: Option<crate::feature::Duration>,
    slide: Option<crate::feature::Duration>,
    field: Option<String>,
    parameters: Parameters,
    start: String,
}

impl WindowParts {
    fn window(self) -> Result<Window> {
        let function = WindowFunction::parse(&self.function, self.parameters)
            .map_err(|(part, why)| Error::invalid(part, why))?;
        let size = self.size.ok_or_else(|| Error::invalid("size", "a window needs a size, such as 5m"))?;
        let field = match function {
            WindowFunction::Count => self.field,
            _ => Some(self.field.unwrap_or_else(|| DEFAULT_FIELD.to_owned())),
        };
        let start = match self.start.as_str() {
            "" => Default::default(),
            name => name.parse().map_err(|why: String| Error::invalid("start", why))?,
        };
        Ok(Window {
            event_type: self.event_type,
            function,
            field,
            size,
            slide: self.slide.unwrap_or_else(|| Window::slide_for(size)),
            start,
        })
    }
}
