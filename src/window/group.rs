//! Registrations: closed groups of windowed features.

use super::layout;
use crate::{
    event::FieldValue,
    feature::{Dtype, Duration, RowId, TenantId, Timestamp, WindowFunction, definition::Feature},
};
use serde::{Deserialize, Serialize};

/// The windowed features of one registration over the same entity type, event type, size and slide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowGroup {
    pub id: RowId,
    pub tenant: TenantId,
    /// By name, as events give it.
    pub entity_type: String,
    pub event_type: String,
    pub size: Duration,
    /// Divides `size`.
    pub slide: Duration,
    /// In the order of the group's columns.
    pub features: Vec<WindowFeature>,
}

/// How one column is computed; the function allows the dtype (`Window::check`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowFeature {
    pub function: WindowFunction,
    /// None = every event counts; only for `count`.
    pub field: Option<String>,
    pub dtype: Dtype,
    /// Otherwise a float that left the finite numbers is null.
    pub allow_non_finite: bool,
}

/// Which windows of a group an aggregator answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Span {
    /// Those that start after the greatest event timestamp that the partition has seen.
    Live,
    /// Those that end before this moment: the end of the first live window. Of that one itself the entities that have a
    /// row before it and none in it: nobody else can say that it is empty. These rows come at its close.
    Before(Timestamp),
}

impl WindowFeature {
    /// Of a registered feature; None = it is not windowed.
    pub fn of(feature: &Feature) -> Option<Self> {
        let window = feature.window.as_ref()?;
        Some(Self {
            function: window.function,
            field: window.field.clone(),
            dtype: feature.dtype,
            allow_non_finite: feature.allow_non_finite,
        })
    }

    /// Whether the column counts an event that holds this in the feature's field.
    pub fn takes(&self, value: FieldValue<'_>) -> bool {
        layout::class(self).is_none_or(|class| class.takes(value))
    }
}

impl WindowGroup {
    /// Slides in a window.
    pub(super) fn ratio(&self) -> i64 {
        self.size.micros() / self.slide.micros()
    }
}
