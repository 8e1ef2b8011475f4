CREATE TABLE customer (
    id serial PRIMARY KEY,
    name text NOT NULL UNIQUE
);

CREATE TABLE purchase (
    id serial PRIMARY KEY,
    customer int NOT NULL REFERENCES customer,
    amount numeric NOT NULL CHECK (amount > 0)
);

INSERT INTO customer (name) VALUES ('ann'), ('bob');
