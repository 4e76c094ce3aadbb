//! What is made of a table's fields: its row, its schema, and the way between rows and Arrow.

/// Declares the tables: row structs, schemas and conversions are all made from these fields.
macro_rules! tables {
    ($(
        $(#[doc = $table_doc:literal])*
        $variant:ident, $name:literal, $row:ident {
            $($(#[doc = $doc:literal])* $field:ident: $type:ty,)*
        }
    )*) => {
        $(
            $(#[doc = $table_doc])*
            #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
            pub struct $row {
                /// The digest that names the group of rows this one was written with.
                pub entry: String,
                $($(#[doc = $doc])* pub $field: $type,)*
            }
        )*

        /// The tables that tomoflow keeps.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Table {
            $($(#[doc = $table_doc])* $variant,)*
        }

        impl Table {
            /// Every table.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The table's name, which is also its folder's.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What a row of the table is.
            pub fn doc(self) -> &'static str {
                match self { $(Self::$variant => concat!($($table_doc),*).trim_ascii(),)* }
            }

            /// The table's columns, each with what it holds.
            pub fn columns(self) -> &'static [(&'static str, &'static str)] {
                match self {
                    $(Self::$variant => const { &[
                        (ENTRY, "The digest that names the group of rows this one was written with."),
                        $((stringify!($field), concat!($($doc),*).trim_ascii()),)*
                    ] },)*
                }
            }

            /// The table's columns in Arrow.
            pub fn schema(self) -> SchemaRef {
                match self {
                    $(Self::$variant => {
                        static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
                            Arc::new(Schema::new(vec![
                                Field::new(ENTRY, String::data_type(), true),
                                $(Field::new(stringify!($field), <$type>::data_type(), true),)*
                            ]))
                        });
                        SCHEMA.clone()
                    })*
                }
            }
        }

        /// Rows of one table.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Rows {
            $($(#[doc = $table_doc])* $variant(Vec<$row>),)*
        }

        impl Rows {
            /// No rows of a table.
            pub fn empty(table: Table) -> Self {
                match table { $(Table::$variant => Self::$variant(Vec::new()),)* }
            }

            /// The table that these rows belong to.
            pub fn table(&self) -> Table {
                match self { $(Self::$variant(_) => Table::$variant,)* }
            }

            /// How many rows there are.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(rows) => rows.len(),)* }
            }

            /// The `entry` of each row, in order.
            pub fn entries(&self) -> Box<dyn Iterator<Item = &str> + '_> {
                match self { $(Self::$variant(rows) => Box::new(rows.iter().map(|row| row.entry.as_str())),)* }
            }

            /// The rows in Arrow, in the order of [`Table::schema`].
            ///
            /// # Errors
            /// [`TableError::Value`] when a value does not fit its column.
            pub fn to_batch(&self) -> Result<RecordBatch, TableError> {
                let table = self.table();
                let columns = match self {
                    $(Self::$variant(rows) => vec![
                        String::array(rows.iter().map(|row| &row.entry))
                            .map_err(|error| TableError::value(table.name(), ENTRY, error))?,
                        $(<$type>::array(rows.iter().map(|row| &row.$field))
                            .map_err(|error| TableError::value(table.name(), stringify!($field), error))?,)*
                    ],)*
                };
                RecordBatch::try_new(table.schema(), columns)
                    .map_err(|error| TableError::Arrow { table: table.name(), source: error })
            }

            /// Appends the rows of a batch, whose columns are found by name.
            ///
            /// # Errors
            /// [`TableError::Column`] when a column is absent, [`TableError::Value`] when it holds
            /// something else than this table's.
            pub fn extend_from_batch(&mut self, batch: &RecordBatch) -> Result<(), TableError> {
                let table = self.table();
                match self {
                    $(Self::$variant(rows) => {
                        let mut entry = column::<String>(table, batch, ENTRY)?.into_iter();
                        $(let mut $field = column::<$type>(table, batch, stringify!($field))?.into_iter();)*
                        // Columns of one batch have one length, so the loop ends with all of them.
                        while let (Some(entry), $(Some($field),)*) = (entry.next(), $($field.next(),)*) {
                            rows.push($row { entry, $($field,)* });
                        }
                    })*
                }
                Ok(())
            }

            /// A digest of all that each row holds.
            pub(super) fn sums(&self) -> Vec<blake3::Hash> {
                match self {
                    $(Self::$variant(rows) => {
                        // Plain values always serialise.
                        let text = |row: &$row| serde_json::to_vec(row).unwrap_or_default();
                        rows.iter().map(|row| blake3::hash(&text(row))).collect()
                    })*
                }
            }

            /// Appends rows of the same table.
            ///
            /// # Errors
            /// [`TableError::OtherTable`] when they belong to another.
            pub fn extend(&mut self, more: Self) -> Result<(), TableError> {
                match (self, more) {
                    $((Self::$variant(rows), Self::$variant(more)) => rows.extend(more),)*
                    (rows, more) => return Err(TableError::OtherTable {
                        expected: rows.table().name(),
                        found: more.table().name(),
                    }),
                }
                Ok(())
            }
        }
    };
}

pub(super) use tables;
