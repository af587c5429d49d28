//! The vocabulary: names, types, values, entities, time, and rows of feature groups.
//!
//! Nothing here does I/O, waits, or knows a transport: everything above speaks in these words.

pub mod columns;
pub mod decimal;
pub mod definition;
pub mod dtype;
pub mod entity;
pub mod id;
pub mod json;
pub mod name;
pub mod row;
pub mod status;
pub mod time;
pub mod value;
pub mod window;

pub use columns::{Column, ColumnBuilder};
pub use decimal::{Decimal, DecimalType};
pub use definition::RowSchema;
pub use dtype::{Dtype, Element};
pub use id::{EntityTypeId, FeatureId, RowId, TenantId};
pub use row::PackedRow;
pub use status::{AgeLimit, CellStatus};
pub use time::{Duration, Round, Timestamp};
pub use value::{Cell, List, Value, ValueRef};
pub use window::{Window, WindowFunction, WindowStart};
