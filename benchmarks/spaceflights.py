"""Pipelines like those of Kedro's spaceflights: tables are joined, and a regression is fitted."""

from kedro.pipeline import Node, Pipeline
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split

FEATURES = ["engines", "passengers", "crew", "checked", "iata", "company_rating", "review_score"]


def _clean_companies(companies):
    rating = companies["company_rating"].str.rstrip("%").astype(float) / 100
    return companies.assign(company_rating=rating, iata=companies["iata"] == "t")


def _clean_shuttles(shuttles):
    price = shuttles["price"].str.replace("[$,]", "", regex=True).astype(float)
    return shuttles.assign(price=price, checked=shuttles["checked"] == "t")


def _join(companies, shuttles, reviews):
    rated = shuttles.merge(reviews, left_on="id", right_on="shuttle_id").drop(columns="id")
    return rated.merge(companies, left_on="company_id", right_on="id").dropna()


def _split(table):
    return train_test_split(table[FEATURES], table["price"], test_size=0.2, random_state=3)


def _evaluate(model, features, price):
    predicted = model.predict(features)
    errors = {"r2": r2_score(price, predicted), "mae": mean_absolute_error(price, predicted)}
    return {name: float(error) for name, error in errors.items()}


def register_pipelines():
    """Give the nodes with what each takes and makes."""
    nodes = [
        Node(_clean_companies, "companies", "cleaned_companies"),
        Node(_clean_shuttles, "shuttles", "cleaned_shuttles"),
        Node(_join, ["cleaned_companies", "cleaned_shuttles", "reviews"], "model_input_table"),
        Node(_split, "model_input_table", ["x_train", "x_test", "y_train", "y_test"]),
        Node(LinearRegression().fit, ["x_train", "y_train"], "regressor"),
        Node(_evaluate, ["regressor", "x_test", "y_test"], "metrics"),
    ]
    return {"__default__": Pipeline(nodes)}
